#!/bin/bash
# hack/demo.sh BINDIR: Slipway at work, step by step, with nothing left afterwards.
# Starts an agent in a temporary directory (it touches no other agent on this machine), makes an image of Debian's
# static busybox, runs a pod of two containers that share a volume and talk over the pod's network, looks at it, removes
# everything and checks that nothing is left. Needs root and the packages busybox-static and nftables (hack/install.sh).
# Exits 1 when a step fails or anything is left. Ctrl-C cleans up too.
set -euo pipefail

bin=$(cd "${1:?usage: hack/demo.sh BINDIR}" && pwd)
[ "$(id -u)" = 0 ] || { echo "hack/demo.sh: namespaces, cgroups and mounts need root" >&2; exit 1; }
command -v nft >/dev/null || { echo "hack/demo.sh: nftables is missing; hack/install.sh installs it" >&2; exit 1; }
busybox=$(command -v busybox) || { echo "hack/demo.sh: busybox-static is missing; hack/install.sh installs it" >&2; exit 1; }

slipway=$bin/slipway
work=$(mktemp -d /tmp/slipway-demo.XXXXXX)
root=$work/root state=$work/run
export SLIPWAY_SOCKET=$work/slipway.sock
# The agent's names for links, cgroups and nft tables are derived from its two directories (agent/layout).
tag=$(printf '%s\0%s' "$root" "$state" | sha256sum | cut -c1-6)
image=demo.example/busybox:latest
serve=("$slipway" serve --root "$root" --state "$state" --socket "$SLIPWAY_SOCKET" --cni-conf-dir none --log-level warning)
agent=

say() { printf '\n== %s\n' "$*"; }

now() { date +%s%N; }

shown() { # a command as a newcomer would type it
	local a out='$'
	for a in "$@"; do
		a=${a/#"$slipway"/slipway}
		case $a in "&") ;; *[!A-Za-z0-9_./:=@,+-]* | '') a="'$a'" ;; esac
		out+=" $a"
	done
	printf '%s\n' "$out"
}

run() { # print a command, run it, and print how long it took
	local began code=0
	shown "$@"
	began=$(now)
	"$@" || code=$?
	printf '  (%d.%d ms)\n' $((($(now) - began) / 1000000)) $((($(now) - began) / 100000 % 10))
	return $code
}

serve() {
	# A session of its own: Ctrl-C means this script, which then takes the agent down in order.
	setsid "${serve[@]}" >>"$work/agent.log" 2>&1 &
	agent=$!
	for _ in $(seq 200); do
		"$slipway" version >/dev/null 2>&1 && return 0 # a bare return in a trap means the script's exit code
		kill -0 "$agent" 2>/dev/null || break
		sleep 0.05
	done
	echo "the agent does not answer; its log:" >&2
	cat "$work/agent.log" >&2
	return 1
}

down() { # everything ends, whatever has happened before: an agent that is gone is started again to tidy up
	[ -d "$state" ] || return 0
	if ! "$slipway" version >/dev/null 2>&1; then
		[ -S "$state/monitor.sock" ] || return 0
		serve || return 1
	fi
	"$slipway" down
}

left() { # what of this demo is still on the machine, one thing a line
	local p
	sed -n "s|.* \($work[^ ]*\) .*|mount \1|p" /proc/self/mountinfo # a pod's pinned namespaces are mounts too
	find /sys/fs/cgroup -type d -name "slipway-$tag" -printf 'cgroup %p\n' 2>/dev/null
	find /sys/class/net \( -name "slipway-$tag" -o -name "sw$tag*" \) -printf 'link %f\n'
	nft list tables | sed -n "s|.* slipway-$tag\$|nft &|p"
	for p in /proc/[0-9]*; do
		if tr '\0' ' ' <"$p/cmdline" | grep -q "$work" || grep -q "slipway-$tag" "$p/cgroup"; then
			echo "process ${p#/proc/} $(tr '\0' ' ' <"$p/cmdline")"
		fi
	done 2>/dev/null
}

finish() {
	local code=$?
	trap - EXIT
	trap '' INT TERM
	if [ "$code" != 0 ]; then
		say "not finished (exit code $code): cleaning up"
		[ ! -s "$work/agent.log" ] || { echo "the agent's log:"; cat "$work/agent.log"; }
	fi
	down || code=1
	local rest
	rest=$(left)
	if [ -n "$rest" ]; then
		printf 'still there:\n%s\n' "$rest" >&2
		echo "its files are kept in $work" >&2
		exit 1
	fi
	rm -rf "$work"
	[ "$code" = 0 ] || echo "nothing is left"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_image() { # a docker-save archive: one layer, its configuration, and a manifest that names both
	local d=$work/image applet layer
	mkdir -p "$d/root/bin" "$d/root/etc" "$d/root/tmp"
	chmod 1777 "$d/root/tmp"
	cp "$busybox" "$d/root/bin/busybox"
	for applet in $("$busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$d/root/bin/$applet"
	done
	printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$d/root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$d/root/etc/group"
	tar -C "$d/root" --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -cf "$d/layer.tar" .
	layer=$(sha256sum "$d/layer.tar" | cut -d' ' -f1)
	cat >"$d/config.json" <<-JSON
		{"architecture": "$(dpkg --print-architecture)", "os": "linux",
		 "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
		 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
	JSON
	cat >"$d/manifest.json" <<-JSON
		[{"Config": "config.json", "RepoTags": ["$image"], "Layers": ["layer.tar"]}]
	JSON
	tar -C "$d" -cf "$work/image.tar" manifest.json config.json layer.tar
}

timeline() { # the agent's own record of where the time of a pod or container went; parts of a step in brackets
	"$slipway" inspect "$1" | awk -v what="$1" '
		/"name":/ { name = $2; gsub(/[",]/, "", name) }
		/"took":/ {
			took = $2 / 1e6
			if (inside) { parts = parts sprintf(" %s %.1f", name, took); next }
			line = line sprintf("  %s %.1f", name, took); sum += took
		}
		/"parts": \[/ { inside = 1; parts = "" }
		inside && /\]/ { inside = 0; line = line " (" substr(parts, 2) ")" }
		END { printf "%-12s %5.1f ms:%s\n", what, sum, line }'
}

check() { # WHAT EXPECTED GOT
	[ "$2" = "$3" ] || { printf '%s: want %q, got %q\n' "$1" "$2" "$3" >&2; return 1; }
}

say "an agent of its own, in $work"
"$slipway" version --client
shown "${serve[@]}" "&"
serve
"$slipway" version | tail -n 1

say "an image, made here from $busybox"
make_image
run "$slipway" load "$work/image.tar"
"$slipway" images

say "a pod with two containers: a web server, and a client that shares its volume and its network"
mkdir "$work/shared"
run "$slipway" run -d --name demo --log-dir "$work/log" -v "$work/shared:/srv" $image -- httpd -f -v -p 8080 -h /srv
run "$slipway" run -d --pod demo --name client -v "$work/shared:/data" $image -- \
	sh -c 'echo "written by $(hostname), read through httpd" >/data/page
	until wget -qO- http://127.0.0.1:8080/page 2>/dev/null; do usleep 20000; done; exec sleep 1000'
"$slipway" pods
"$slipway" ps

say "the client's log: what the server sent it"
for _ in $(seq 100); do
	[ -z "$("$slipway" logs demo/client)" ] || break
	sleep 0.02
done
run "$slipway" logs demo/client
check "the client's log" "written by demo, read through httpd" "$("$slipway" logs demo/client)"

say "the node reaches the pod as well"
ip=$("$slipway" inspect demo | awk -F'"' '$2 == "ip" { print $4; exit }')
echo "\$ curl http://$ip:8080/page    (by hand, in bash)"
exec 3<>"/dev/tcp/$ip/8080"
printf 'GET /page HTTP/1.0\r\n\r\n' >&3
page=$(tail -n 1 <&3)
exec 3>&-
echo "$page"
check "the page" "written by demo, read through httpd" "$page"

say "commands inside"
run "$slipway" exec demo/main -- cat /srv/page
run "$slipway" exec demo/client -- ip -o -4 addr show dev eth0
run "$slipway" exec demo/client -- ps

say "one container more, for a moment: its output and its exit code come back"
code=0
run "$slipway" run --rm --pod demo $image -- sh -c 'netstat -ltn; exit 7' || code=$?
check "the exit code" 7 "$code"

say "use of CPU, memory and disk"
run "$slipway" stats

say "where the time went, by the agent's own clock (ms)"
for what in demo demo/main demo/client; do timeline $what; done

say "the end"
run "$slipway" stop --time 1s demo
run "$slipway" rm demo
run "$slipway" rmi $image
run "$slipway" down
agent=

say "what is left: mounts (pinned namespaces are such), cgroups, links, nft tables, processes"
rest=$(left)
[ -z "$rest" ] || exit 1
files=$(find "$root" "$state" -type f -printf '%P\n' | sort)
echo "nothing"
printf 'files of the agent, removed with %s:\n%s\n' "$work" "${files:-none}"
