package models

import "editpipe/models/arch"

// What is left of these until their users name package arch.
type Need = arch.Need

var (
	ErrNotEditable = arch.ErrNotEditable
	ErrSite        = arch.ErrSite
	ErrNoGradient  = arch.ErrNoGradient
)

// Lacks is arch.Lacks.
func Lacks(info *arch.Info, n Need) error { return arch.Lacks(info, n) }
