#!/usr/bin/env bash
# Sets up, builds and tests hadal. Nothing needs to be done before.
#
#   ./test.sh --fast   release build and fast suite, include order, links
#   ./test.sh          the same, formatting, and the fast suite under AddressSanitizer, UBSan and (threads) TSan
#   ./test.sh --full   the same, the full suite, clang, clang-tidy, the Python tests of nano/, and every fuzz target for a minute
#
# HADAL_GOLDEN         a folder with the official tokenizer; tests that need it are skipped without
# HADAL_FUZZ_SECONDS   seconds per fuzz target (60)
# The last line is "N passed, N failed, N skipped". Exit status: 0 none failed, 1 some did, 2 set-up is impossible.
set -uo pipefail
cd "$(dirname "$0")" || exit 2

mode=default
case "${1:-}" in
  "") ;;
  --fast) mode=fast ;;
  --full) mode=full ;;
  *) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac

jobs=$(nproc)
passed=0 failed=0 skipped=0
failures=()

say() { printf '== %s\n' "$*"; }

finish() {
  for name in "${failures[@]:+${failures[@]}}"; do echo "failed: $name"; done
  say "$mode suite in ${SECONDS} s"
  echo "$passed passed, $failed failed, $skipped skipped"
  exit $((failed > 0 ? 1 : 0))
}

# check NAME COMMAND...: one test that passes when the command does; its output is shown only when it fails.
check() {
  local name=$1 log start=$SECONDS
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    say "$name: passed ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    failures+=("$name")
    tail -n 60 "$log"
    say "$name: failed"
  fi
  rm -f "$log"
}

skip() { skipped=$((skipped + 1)); say "$1: skipped, $2"; }

# build PRESET [TARGET...]: without a build there is nothing to test, so a failure ends the run.
build() {
  local preset=$1 log start=$SECONDS
  shift
  log=$(mktemp)
  if ! { cmake --preset "$preset" -DHADAL_TESTS="${tests:-ON}" && cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}; } >"$log" 2>&1; then
    grep -E 'error|Error|FAILED' "$log" | head -n 30
    tail -n 15 "$log"
    rm -f "$log"
    failed=$((failed + 1))
    failures+=("build $preset")
    finish
  fi
  rm -f "$log"
  say "build $preset: done ($((SECONDS - start)) s)"
}

# suite PRESET LABEL: runs the tests of one label by ctest and adds up its JUnit summary.
suite() {
  local preset=$1 label=$2 log start=$SECONDS junit="$PWD/build/$1/junit-$2.xml" total bad off
  log=$(mktemp)
  rm -f "$junit"
  ctest --test-dir "build/$preset" -L "^$label\$" -j "$jobs" --output-on-failure --no-tests=ignore --output-junit "$junit" >"$log" 2>&1
  if [[ ! -s "$junit" ]]; then
    if grep -q 'No tests were found' "$log"; then skip "$label suite, $preset" "there are none"; rm -f "$log"; return; fi
    cat "$log"
    failed=$((failed + 1))
    failures+=("$label suite, $preset: ctest wrote no result")
    rm -f "$log"
    return
  fi
  attribute() { grep -m1 -A8 '<testsuite ' "$junit" | tr '\n\t' '  ' | sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p"; }
  total=$(attribute tests) bad=$(attribute failures) off=$(($(attribute skipped) + $(attribute disabled)))
  passed=$((passed + total - bad - off)) failed=$((failed + bad)) skipped=$((skipped + off))
  if ((bad > 0)); then
    grep -v -E '^ *[0-9]+/[0-9]+ Test +#.* Passed|^ +Start +[0-9]+:' "$log" | tail -n 150
    failures+=("$label suite, $preset: $bad tests")
  fi
  say "$label suite, $preset: $((total - bad - off)) passed, $bad failed, $off skipped ($((SECONDS - start)) s)"
  rm -f "$log"
}

level="test"
if [[ $mode == full ]]; then level=full; fi
tools/setup "$level" || exit 2
if [[ -n "${HADAL_GOLDEN:-}" ]]; then export HADAL_GOLDEN; fi

build release
suite release fast
check "include order" tools/check_includes
check "links and words" tools/check_words
if [[ $mode == fast ]]; then finish; fi

check "formatting" tools/format --check

export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_stack_use_after_return=1}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export LSAN_OPTIONS="${LSAN_OPTIONS:-suppressions=$PWD/tests/leaks.txt:print_suppressions=0}"
build asan
suite asan fast

# ThreadSanitizer where threads meet. It needs a fixed address layout on kernels with many random bits.
fixed_layout=()
if setarch "$(uname -m)" -R true 2>/dev/null; then fixed_layout=(setarch "$(uname -m)" -R); fi
threaded=()
for folder in files machine weights sessions serve sandbox; do
  if compgen -G "tests/$folder/*_test.cc" >/dev/null; then threaded+=("test_$folder"); fi
done
if ((${#threaded[@]} > 0)); then
  build tsan "${threaded[@]}"
  for test in "${threaded[@]}"; do
    case $test in  # elsewhere in these two folders one thread works alone
      test_files) only='*AsyncReaders*' ;;
      test_weights) only='ExpertStores.GiveTheBitsOfTheLoaderForAnyNumberOfSlots:ExpertStores.EndInTheMiddleOfALayer' ;;
      *) only='*' ;;
    esac
    check "$test, tsan" "${fixed_layout[@]:+${fixed_layout[@]}}" "build/tsan/$test" --gtest_brief=1 --gtest_filter="$only"
  done
fi
if [[ $mode == default ]]; then finish; fi

suite release full
# A thousand requests with clients that leave, under both sanitizers: their reports fail the server's exit.
for preset in asan tsan; do
  build "$preset" test_serve_full hadal
  check "load, $preset" "${fixed_layout[@]:+${fixed_layout[@]}}" "build/$preset/test_serve_full" --gtest_brief=1 --gtest_filter='Load.*'
done
# The vendors' own clients and agents, and the page in a browser; status 77: no node, registry or browser here.
for what in clients web; do
  if ! command -v npm >/dev/null; then
    skip "npm $what" "npm is not installed"
    continue
  fi
  status=0
  "tests/$what/run" || status=$?
  if ((status == 77)); then skip "npm $what" "what it needs cannot be installed here"; else check "npm $what" test "$status" = 0; fi
done
build clang
suite clang fast
check "clang-tidy" tools/lint
# Debian's PyTorch belongs to Debian's interpreter, which may not be the first in the path.
torch_python=""
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import torch' 2>/dev/null; then torch_python=$python; break; fi
done
if [[ -n "$torch_python" ]]; then
  check "nano, Python" "$torch_python" -m unittest discover -s tests/nano
else
  skip "nano, Python" "PyTorch is not installed"
fi

tests=OFF build fuzz
for target in build/fuzz/fuzz_*; do
  if [[ ! -x "$target" || -d "$target" ]]; then continue; fi
  name=$(basename "$target")
  name=${name#fuzz_}
  corpus=$(mktemp -d)
  seeds=()
  if [[ -d "fuzz/corpus/$name" ]]; then seeds=("fuzz/corpus/$name"); fi
  check "fuzz $name" "$target" -max_total_time="${HADAL_FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=2500 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "$corpus" "${seeds[@]:+${seeds[@]}}"
  rm -rf "$corpus"
done
finish
