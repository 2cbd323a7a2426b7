#!/bin/sh
# Installs a release of iotstream for the user who runs it: the program, its manual pages and its completions.
# `install.sh --help` lists the options. It asks for no other user's rights.
set -eu

# The release script fills these in.
version='@VERSION@'
repository='@REPOSITORY@'

usage() {
    cat <<'END'
Usage: install.sh [--prefix DIRECTORY] [--version VERSION] [--from URL]

  --prefix DIRECTORY   install into DIRECTORY/bin and DIRECTORY/share (default: ~/.local)
  --version VERSION    install this version
  --from URL           download from this directory instead of the project's releases
END
}

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The name that Rust has for this system.
target() {
    system=$(uname -s)
    machine=$(uname -m)
    case $system/$machine in
        Linux/x86_64) echo x86_64-unknown-linux-musl ;;
        Linux/aarch64 | Linux/arm64) echo aarch64-unknown-linux-musl ;;
        Linux/armv7* | Linux/armv8l) echo armv7-unknown-linux-musleabihf ;;
        Darwin/arm64) echo aarch64-apple-darwin ;;
        Darwin/x86_64) echo x86_64-apple-darwin ;;
        MINGW*/* | MSYS*/* | CYGWIN*/*) fail "on Windows, use install.ps1" ;;
        *) fail "there is no build for $system on $machine: install Rust, and run 'cargo install --locked iotstream'" ;;
    esac
}

# Downloads the file $1 of the release into the current directory.
download() {
    if has curl; then
        case $from in
            https:*) curl --fail --silent --show-error --location --proto '=https' --output "$1" "$from/$1" ;;
            *) curl --fail --silent --show-error --location --output "$1" "$from/$1" ;;
        esac
    elif has wget; then
        wget -q -t 2 -O "$1" "$from/$1"
    else
        fail "neither curl nor wget is installed"
    fi || fail "cannot download $from/$1"
}

sha256() {
    if has sha256sum; then
        sha256sum "$1"
    elif has shasum; then
        shasum -a 256 "$1"
    elif has openssl; then
        openssl dgst -sha256 -r "$1"
    else
        fail "none of sha256sum, shasum and openssl is installed"
    fi
}

# Replaces a file that may be in use.
put() {
    mkdir -p "$(dirname "$3")"
    cp "$2" "$3.new"
    chmod "$1" "$3.new"
    mv -f "$3.new" "$3"
}

main() {
    prefix=${HOME:?}/.local
    from=
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help)
                usage
                exit
                ;;
            --prefix | --version | --from)
                [ $# -ge 2 ] || fail "$1 needs a value"
                case $1 in
                    --prefix) prefix=$2 ;;
                    --version) version=$2 ;;
                    --from) from=$2 ;;
                esac
                shift 2
                ;;
            *) fail "unknown argument '$1': see --help" ;;
        esac
    done
    case $version in @*) fail "this copy belongs to no release: take a release's, or name a --version" ;; esac
    if [ -z "$from" ]; then
        case $repository in @*) fail "this copy belongs to no release: take a release's, or name --from" ;; esac
        from=$repository/releases/download/v$version
    fi
    has tar || fail "tar is not installed"

    name=iotstream-$version-$(target)
    directory=$(mktemp -d)
    trap 'rm -rf "$directory"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$prefix/bin" || fail "cannot write to $prefix: name another directory with --prefix"
    prefix=$(cd "$prefix" && pwd)
    cd "$directory"
    download SHA256SUMS
    download "$name.tar.gz"
    wanted=$(awk -v name="$name.tar.gz" '$2 == name { print $1 }' SHA256SUMS)
    [ -n "$wanted" ] || fail "SHA256SUMS of $from has no $name.tar.gz"
    found=$(sha256 "$name.tar.gz")
    [ "${found%% *}" = "$wanted" ] || fail "the checksum of $name.tar.gz is wrong: nothing was installed"
    tar -xzf "$name.tar.gz"

    cd "$name"
    put 755 iotstream "$prefix/bin/iotstream"
    for page in man/man[157]/*; do
        put 644 "$page" "$prefix/share/$page"
    done
    put 644 completions/iotstream.bash "$prefix/share/bash-completion/completions/iotstream"
    put 644 completions/iotstream.fish "$prefix/share/fish/vendor_completions.d/iotstream.fish"
    put 644 completions/_iotstream "$prefix/share/zsh/site-functions/_iotstream"

    echo "installed $prefix/bin/iotstream, version $version; the checksum is the one in $from/SHA256SUMS"
    case $repository in @*) ;; *)
        echo "check that the project built it: gh attestation verify $prefix/bin/iotstream --repo ${repository#*://*/}"
        ;;
    esac
    case :$PATH: in *":$prefix/bin:"*) ;; *) echo "add $prefix/bin to PATH, where ssh looks for the ProxyCommand" ;; esac
}

# At the end, so that a script that was cut off does nothing.
main "$@"
