//go:build families

package tinylm_test

func init() { everyExport = true }
