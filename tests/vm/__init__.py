"""Other kernels of Debian, booted under QEMU on this machine's own root directory, of which nothing is changed."""
