#!/bin/bash
# hack/vm/run.sh [-l] [PACKAGE...]: run the real-kernel tests of the packages (default: the list below) in a VM with
# Debian's cloud kernel: pure cgroup v2, under software emulation. Prints one line a package and go test's own
# summary line; exits 0 only if every package passed. -l shows the whole console.
# Needs root, Go, and the Debian packages qemu-system-x86, cpio, kmod, busybox-static, e2fsprogs (hack/install.sh brings them).
# Keeps the kernel in a cache directory (SLIPWAY_CACHE, default ~/.cache/slipway).
set -euo pipefail
cd "$(dirname "$0")/../.."
here=hack/vm
cache=${SLIPWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slipway}/vm
verbose=
[ "${1:-}" = -l ] && { verbose=1; shift; }
packages=("$@")
[ ${#packages[@]} -gt 0 ] || mapfile -t packages < <(grep -v '^#' $here/packages)

kernel() { # fetch and unpack the newest 6.1 cloud kernel once
	[ -s "$cache/kernel/version" ] && return
	mkdir -p "$cache/deb" && rm -rf "$cache/kernel" "$cache/kernel.new"
	local pkg
	apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1 || apt-get -qq update # a fresh machine has no lists
	pkg=$(apt-cache depends linux-image-cloud-amd64 | awk '$1=="Depends:"{print $2; exit}')
	(cd "$cache/deb" && apt-get -o APT::Sandbox::User=root download -q "$pkg" >/dev/null)
	dpkg -x "$cache"/deb/"$pkg"_*.deb "$cache/kernel.new"
	rm -rf "$cache/deb"
	local v
	v=$(ls "$cache/kernel.new/lib/modules")
	depmod -b "$cache/kernel.new" "$v"
	echo "$v" >"$cache/kernel.new/version"
	mv "$cache/kernel.new" "$cache/kernel"
}

modules() { # copy the listed modules with what they depend on
	local root=$1 v m f
	v=$(cat "$cache/kernel/version")
	while read -r m; do
		modprobe -d "$cache/kernel" -S "$v" --show-depends "$m" 2>/dev/null | awk '$1=="insmod"{print $2}'
	done <$here/modules | sort -u | while read -r f; do
		install -D -m 644 "$f" "$root/${f#"$cache/kernel/"}"
	done
	cp "$cache/kernel/lib/modules/$v"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$v/"
	depmod -b "$root" "$v"
}

withlibs() { # copy a program with the libraries that it is linked to
	install -D "$1" "$2$1"
	ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r l; do [ -e "$2$l" ] || install -D "$l" "$2$l"; done
}

image() { # everything that the VM's root holds
	local root=$1 p
	mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc,root,new,proc,sys,dev,tests,tmp,run,var,usr/lib}
	cp /bin/busybox "$root/bin/busybox"
	for a in $(busybox --list | grep -vx busybox); do ln -sf /bin/busybox "$root/bin/$a"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	echo slipway-vm >"$root/etc/hostname"
	printf '127.0.0.1 localhost slipway-vm\n::1 localhost\n' >"$root/etc/hosts"
	printf 'nameserver 192.0.2.53\n' >"$root/etc/resolv.conf"
	install -m 755 $here/init "$root/init"
	cp $here/modules "$root/tests/modules"
	for p in docker-registry skopeo strace; do withlibs "/usr/bin/$p" "$root"; done
	for p in /usr/lib/cni/*; do withlibs "$p" "$root"; done
	modules "$root"
	for p in "${packages[@]}"; do
		local dir="$root/tests/$p"
		mkdir -p "$dir"
		CGO_ENABLED=0 go test -c -ldflags='-s -w' -o "$dir/test" "./$p"
		[ ! -d "$p/testdata" ] || cp -r "$p/testdata" "$dir/"
	done
	mkdir -p "$root/tests/bin" && make -s build BIN="$root/tests/bin"
	{
		echo 'export SLIPWAY_TEST_BIN=/tests/bin SLIPWAY_TEST_SLOW=1'
		echo 'bad=0'
		for p in "${packages[@]}"; do
			echo "cd /tests/$p && if [ -x test ]; then echo '=== $p'; ./test -test.short=false -test.v -test.timeout 15m; r=\$?; echo \"--- $p exit \$r\"; [ \$r = 0 ] || bad=1; fi"
		done
		echo 'exit $bad'
	} >"$root/tests/run"
}

disk() { # an ext4 file system for /tmp: a tmpfs of this kernel has no user xattrs
	truncate -s 4G "$1" && mke2fs -q -F -t ext4 -O ^has_journal "$1"
}

kernel
work=$(mktemp -d)
qemu=
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
image "$work/root"
disk "$work/disk"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"
v=$(cat "$cache/kernel/version")
console=${SLIPWAY_VM_LOG:-$work/console}
echo "vm: Linux $v, $(du -h "$work/initrd" | cut -f1) initramfs, ${#packages[@]} packages"
# In this script's process group, so that who ends the group ends the machine.
timeout --foreground "${SLIPWAY_VM_TIMEOUT:-1500}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 4096 \
	-nodefaults -no-reboot -display none -serial stdio \
	-drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" \
	-kernel "$cache/kernel/boot/vmlinuz-$v" -initrd "$work/initrd" \
	-append "console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1 apparmor=1 security=apparmor" \
	</dev/null >"$console" 2>&1 &
qemu=$!
if [ -n "$verbose" ]; then tail -f --pid=$qemu "$console" & fi
wait $qemu || true
qemu=
sed -i 's/\r//g' "$console"
awk -v counts="${COUNTS:-}" '
	/^=== (agent|oci|cri|cmd|hack)/ { pkg=$2; t=f=s=0; open=1 }
	/^ +[^ ]+\.go:[0-9]+: / { said=$0 }
	/^ *--- PASS/ { t++ } /^ *--- FAIL/ { f++; print "    " $0 } /^ *--- SKIP/ { s++; print "    " $0 said }
	/^=== RUN/ { said="" }
	/^--- .* exit [0-9]+$/ { printf "%s\t%s\t%d passed, %d failed, %d skipped (cgroup v2 VM)\n", ($NF=="0" ? "ok" : "FAIL"), pkg, t, f, s; total+=t; failed+=f; skipped+=s; open=0 }
	END {
		if (open) { printf "FAIL\t%s\tnot at its end: %d passed, %d failed, %d skipped (cgroup v2 VM)\n", pkg, t, f, s; total+=t; failed+=f+1; skipped+=s }
		printf "vm: %d passed, %d failed, %d skipped\n", total, failed, skipped
		if (counts) print total, failed, skipped >counts
	}
' "$console"
if ! grep -q '^vm: exit 0$' "$console"; then
	echo "vm: the run did not pass; the end of the console:" >&2
	tail -n 60 "$console" >&2
	exit 1
fi
