package main

import (
	"errors"
	"flag"
	"strconv"

	"github.com/urfave/cli/v2"
)

// Whole numbers are read as decimal ones. The flag libraries' own flags read 010
// as 8 and 0x10 as 16.
type (
	decimalInt   struct{ *cli.IntFlag }
	decimalInt64 struct{ *cli.Int64Flag }
)

// inDecimal makes the flags of a command read decimal numbers.
func inDecimal(cmd *cli.Command) {
	for i, f := range cmd.Flags {
		switch f := f.(type) {
		case *cli.IntFlag:
			f.Base = 10
			cmd.Flags[i] = decimalInt{f}
		case *cli.Int64Flag:
			f.Base = 10
			cmd.Flags[i] = decimalInt64{f}
		}
	}
}

// Apply puts the flag into the set.
func (f decimalInt) Apply(set *flag.FlagSet) error {
	return applyDecimal(f.IntFlag, set)
}

// Apply puts the flag into the set.
func (f decimalInt64) Apply(set *flag.FlagSet) error {
	return applyDecimal(f.Int64Flag, set)
}

func applyDecimal(f cli.Flag, set *flag.FlagSet) error {
	if err := f.Apply(set); err != nil {
		return err
	}
	for _, name := range f.Names() {
		in := set.Lookup(name)
		in.Value = decimalValue{in.Value.(flag.Getter)}
	}
	return nil
}

// decimalValue is a number of a flag set that is set from decimal digits.
type decimalValue struct{ flag.Getter }

// Set reads the digits.
func (v decimalValue) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return errors.New("want a whole number in decimal digits")
	}
	return v.Getter.Set(strconv.FormatInt(n, 10))
}
