# Filled by runtime/: generates generated/seccomp_default.inc with libseccomp at build time.
