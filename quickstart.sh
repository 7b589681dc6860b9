#!/usr/bin/env bash
# Installs what is missing, builds hadal, and lets the embedded model work: it answers a question from a long document,
# then writes a tool call. Nothing is downloaded besides Debian packages.
set -euo pipefail
cd "$(dirname "$0")"
if (($# > 0)); then sed -n '2,3p' "$0" | sed 's/^# //' >&2; exit 2; fi

tools/setup build
echo "== building (a few minutes the first time)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset release -DHADAL_TESTS=OFF && cmake --build --preset release -j "$(nproc)" --target hadal; } >"$log" 2>&1; then
  grep -E 'error|FAILED' "$log" | head -n 20 >&2
  tail -n 10 "$log" >&2
  echo "hadal: the build failed; the lines above say where" >&2
  exit 1
fi
hadal=build/release/hadal
echo "== built in ${SECONDS} s: $("$hadal" --version)"

demo=nano/quickstart
timed() {  # runs a command and says how long it took
  local start end
  start=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  printf '== took %d.%01d s\n' $(((end - start) / 1000000000)) $(((end - start) / 100000000 % 10))
}

echo
echo "== 1. A question about a document of $(wc -w <"$demo/document.txt") words"
echo "   $(cat "$demo/question.txt")"
timed "$hadal" run -n 200 --file "$demo/document.txt" -p "$(cat "$demo/question.txt")"

echo
echo "== 2. A request that needs a tool"
echo "   $(cat "$demo/request.txt")"
timed "$hadal" run -n 200 --tools "$demo/tools.json" -p "$(cat "$demo/request.txt")"

cat <<'TEXT'

The embedded model is a small demonstration model: it copies, calls tools and finds things in long text, and knows almost
nothing about the world. Try:
  build/release/hadal run              chat with it
  build/release/hadal plan             what the large models need, and whether they fit here
  build/release/hadal help             every command
TEXT
