//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package tensor

// Bytes are viewed as numbers in place, which needs a little-endian machine.
var _ int = "package tensor needs a little-endian machine"
