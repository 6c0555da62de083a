package container_test

import "golang.org/x/sys/unix"

const sysMkdir = unix.SYS_MKDIRAT // mkdir is not among arm64's calls
