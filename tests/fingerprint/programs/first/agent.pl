use strict; use warnings; use Carp;
sub deliver { my ($id) = @_; confess "message $id could not be delivered to queue $ENV{N}"; }
sub summarise { my ($plan) = @_; return $plan->summary($ENV{ID}); }
sub run { my ($bug) = @_; $bug eq 'deliver' ? deliver($ENV{ID}) : summarise(bless {}, 'Plan'); }
run($ARGV[0]);
