package container_test

import "golang.org/x/sys/unix"

const sysMkdir = unix.SYS_MKDIR
