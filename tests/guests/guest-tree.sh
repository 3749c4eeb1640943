# SPDX-License-Identifier: Apache-2.0
# Shell functions of the scripts that make Linux guests; bench/guest-lib.sh and preflight.sh come first. They expect
# $tree, the guest's root, $work with the unpacked packages and the kernel, and $downloading, not empty meanwhile.

need_tools() {
    lacking=
    command -v cpio >/dev/null || lacking="$lacking cpio"
    command -v readelf >/dev/null || lacking="$lacking binutils"
    [ -z "$lacking" ] && return
    preflight_root $lacking
    $as_root apt-get -qq update || preflight_no_network
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $lacking >/dev/null
}

# Copies a program or library from the unpacked packages to the same place in the guest, with the libraries it needs.
add_elf() {
    [ -e "$tree/$1" ] && return
    mkdir -p "$tree/$(dirname "$1")"
    cp -L "$work/packages/$1" "$tree/$1"
    for needed in $(readelf -d "$work/packages/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        found=$(cd "$work/packages" && find lib usr/lib -name "$needed" | head -n 1)
        [ -n "$found" ] || { echo "${0##*/}: no package has $needed, which $1 needs" >&2; exit 1; }
        add_elf "$found"
    done
}

# $modules and those they depend on.
add_modules() {
    version=$(cd "$work/kernel/lib/modules" && ls)
    from=$work/kernel/lib/modules/$version
    depmod=$(command -v depmod || echo /sbin/depmod)
    if [ ! -x "$depmod" ]; then  # the guest's own, with the guest's own libraries
        ln -sf kmod "$tree/bin/depmod"
        libraries=$tree/lib/x86_64-linux-gnu:$tree/usr/lib/x86_64-linux-gnu
        depmod="$tree/lib64/ld-linux-x86-64.so.2 --library-path $libraries $tree/bin/depmod"
    fi
    $depmod -b "$work/kernel" "$version"
    for module in $modules; do
        pattern=$(echo "$module" | sed 's/[-_]/[-_]/g')
        line=$(grep -E "/$pattern\.ko:" "$from/modules.dep") || {
            echo "${0##*/}: Linux $version has no module $module" >&2
            exit 1
        }
        for file in $(echo "$line" | tr -d :); do
            mkdir -p "$tree/lib/modules/$version/$(dirname "$file")"
            cp "$from/$file" "$tree/lib/modules/$version/$file"
        done
    done
    cp "$from/modules.order" "$from/modules.builtin" "$from/modules.builtin.modinfo" "$tree/lib/modules/$version/"
    $depmod -b "$tree" "$version"
    rm -f "$tree/bin/depmod"
}

# Not compressed: unpacking it costs the guest more than reading it costs us.
write_initrd() {
    find "$tree" -exec touch -h -d @0 {} +  # equal inputs, equal bytes
    (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0) >"$work/initrd.cpio"
    mv "$work/initrd.cpio" "$out/initrd.cpio"
}

# A failed download ends the script (apt has said what failed); an empty kernel name must not stay in the cache.
on_exit() {
    rm -rf "$work"
    [ -s "$cache/kernel-$deb" ] || rm -f "$cache/kernel-$deb" "$cache/kernel-$deb.new"
    [ -z "$downloading" ] || preflight_no_network
}
