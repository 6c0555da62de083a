// Lets userns.go declare functions without a body: they are linked from package syscall.
