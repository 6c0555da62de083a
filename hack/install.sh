#!/bin/sh
# hack/install.sh: install the Debian packages that the demo and the tests use, those that are missing.
set -eu
want="docker-registry busybox-static containernetworking-plugins iptables iproute2 nftables skopeo strace
	qemu-system-x86 e2fsprogs cpio kmod ca-certificates"
missing=
for p in $want; do
	dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "these Debian packages are missing, and installing them needs root:$missing" >&2
	exit 1
fi
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive

# docker-registry's own service must not take a port: the tests start their own. A policy-rc.d that is there is the
# operator's and stays as it is; if it lets the service start, systemd stops it below.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
$apt update
$apt install -y --no-install-recommends $missing >/dev/null
case $missing in
*docker-registry*) [ ! -d /run/systemd/system ] || systemctl disable --quiet --now docker-registry ;;
esac
