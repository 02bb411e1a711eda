use strict; use warnings; use Carp;
sub slurp { my ($path) = @_; open my $file, '<', $path or confess "cannot open $path: $!"; return <$file>; }
sub share { my ($n) = @_; local $SIG{__DIE__} = \&Carp::confess; return $n / ($n - $n); }
sub run { my ($bug) = @_; $bug eq 'slurp' ? slurp("$ENV{DIR}/in/$ENV{NAME}.txt") : share($ENV{N}); }
run($ARGV[0]);
