#!/usr/bin/env bash
# Every fuzz test of the module, one after the other, each for a bounded time:
#
#   scripts/fuzz.sh [SECONDS]     10 seconds each
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
case $seconds in '' | 0 | *[!0-9]*)
  echo "usage: $0 [SECONDS]" >&2
  exit 2
  ;;
esac

found=0
while IFS=: read -r file line; do
  fuzz=${line#func } fuzz=${fuzz%%(*}
  package=./$(dirname "$file")
  printf 'fuzz: %s in %s, %s s\n' "$fuzz" "$package" "$seconds"
  go test -run '^$' -fuzz "^$fuzz\$" -fuzztime "${seconds}s" "$package" </dev/null
  found=$((found + 1))
done < <(grep -r --include='*_test.go' '^func Fuzz' cmd internal)
[ "$found" -gt 0 ] || {
  echo "fuzz: there is no fuzz test" >&2
  exit 1
}
printf 'fuzz: %s fuzz tests, and nothing found\n' "$found"
