#!/bin/sh
# Runs the fuzz targets. See README.md.
#
#   fuzz/fuzz.sh [all|TARGET…] [SECONDS]    fuzz each for so long (20 s), from the checked-in corpus
#   fuzz/fuzz.sh replay [TARGET…]           run the checked-in corpus once
#   fuzz/fuzz.sh distil [TARGET…]           put the best of what was found so far into the corpus
#   fuzz/fuzz.sh coverage TARGET            say which lines the corpus reaches
#
# TOOLCHAIN chooses the compiler (nightly), FUZZ_FLAGS adds libFuzzer flags.
set -eu

cd "$(dirname "$0")"
toolchain=${TOOLCHAIN:-nightly}
all=$(sed -n 's|^path = "targets/\(.*\)\.rs"|\1|p' Cargo.toml)
# How much of each target's corpus is kept: all of them together stay below 200 KB.
corpus_max_bytes=19000
corpus_max_files=64

if ! cargo "+$toolchain" fuzz --version >/dev/null 2>&1; then
    echo "fuzzing needs a nightly compiler and cargo-fuzz:" >&2
    echo "  rustup toolchain install nightly --profile minimal" >&2
    echo "  cargo install cargo-fuzz --locked --version 0.13.2" >&2
    exit 1
fi

flags() {
    # A hang is five seconds; the memory limit covers the sanitizer's own.
    printf '%s ' -timeout=5 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1
    [ ! -f "dictionaries/$1.dict" ] || printf '%s ' "-dict=dictionaries/$1.dict"
}

run() {
    target=$1
    shift
    mkdir -p "target/corpus/$target" "corpus/$target"
    # What is found goes to the first directory.
    # shellcheck disable=SC2046,SC2086
    cargo "+$toolchain" fuzz run --fuzz-dir . "$target" "target/corpus/$target" "corpus/$target" -- \
        $(flags "$target") "$@" ${FUZZ_FLAGS:-}
}

# Keeps a few small inputs that together reach as much as so few can.
distil() {
    target=$1
    small=target/distilled/small/$target best=target/distilled/best/$target
    rm -rf "$small" "$best" && mkdir -p "$small" "$best" "target/corpus/$target" "corpus/$target"
    # First the small ones that reach all that small ones do, then the most telling of these first.
    cargo "+$toolchain" fuzz run --fuzz-dir . "$target" "$small" "target/corpus/$target" "corpus/$target" -- \
        -merge=1 -use_counters=0 -max_len=500
    cargo "+$toolchain" fuzz run --fuzz-dir . "$target" "$best" "$small" -- -set_cover_merge=1 -use_counters=0
    rm -rf "corpus/$target" && mkdir -p "corpus/$target"
    bytes=0 files=0
    for file in $(ls -tr "$best"); do
        bytes=$((bytes + $(wc -c <"$best/$file"))) files=$((files + 1))
        [ "$bytes" -le "$corpus_max_bytes" ] && [ "$files" -le "$corpus_max_files" ] || break
        cp "$best/$file" "corpus/$target/$(printf %.12s "$file")"
    done
    echo "$target: $(find "corpus/$target" -type f | wc -l) inputs"
}

case ${1:-all} in
replay)
    shift
    for target in ${*:-$all}; do run "$target" -runs=0; done
    ;;
distil)
    shift
    for target in ${*:-$all}; do distil "$target"; done
    ;;
coverage)
    cargo "+$toolchain" fuzz coverage --fuzz-dir . "$2" "target/corpus/$2" "corpus/$2"
    ;;
*)
    seconds=20
    targets=
    for word in "${@:-all}"; do
        case $word in
        all) targets=$all ;;
        *[!0-9]*) targets="$targets $word" ;;
        *) seconds=$word ;;
        esac
    done
    for target in ${targets:-$all}; do
        echo "== $target, $seconds s"
        run "$target" "-max_total_time=$seconds"
    done
    ;;
esac
