set -u
collect() { frobnicate --job "$ID"; }
enter() { cd "$DIR/jobs/$NAME" || exit 1; }
expand() { echo "$RUN_DIRECTORY/$N"; }
"$1"
