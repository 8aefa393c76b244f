#!/usr/bin/env bash
# Runs every fuzz test of the module, one after another, for a bounded number of inputs each.
#
#   scripts/fuzz.sh [INPUTS]     without INPUTS 100000, which take some seconds
#
# Inputs and not seconds: go test -fuzztime 3s now and then reports its own deadline as a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=${1:-100000}
case $inputs in
'' | *[!0-9]*)
  echo "usage: $0 [INPUTS]" >&2
  exit 2
  ;;
esac

found=0
while IFS=: read -r file line; do
  fuzz=${line#func } fuzz=${fuzz%%(*}
  package=./$(dirname "$file")
  printf 'fuzz: %s in %s, %s inputs\n' "$fuzz" "$package" "$inputs"
  go test -run '^$' -fuzz "^$fuzz\$" -fuzztime "${inputs}x" "$package" </dev/null
  found=$((found + 1))
done < <(grep -r --include='*_test.go' '^func Fuzz' cmd internal)
[ "$found" -gt 0 ] || {
  echo "fuzz: there is no fuzz test" >&2
  exit 1
}
printf 'fuzz: %s fuzz tests, and nothing found\n' "$found"
