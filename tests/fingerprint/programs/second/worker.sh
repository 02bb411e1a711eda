set -euo pipefail
count() { grep -c "$ID" "$DIR/logs/$NAME.log"; }
launch() { "$DIR/bin/$NAME"; }
number() { echo $(( N / (N - N) )); }
notify() { curlx --silent "http://127.0.0.1:$PORT/$ID"; }
"$1"
