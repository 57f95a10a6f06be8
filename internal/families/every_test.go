//go:build families

package families

func init() { every = true }
