package models

import "errors"

var (
	// ErrTokenizer is returned when a text is asked of a model that has no
	// tokenizer, or when the tokenizer does not belong to the model.
	ErrTokenizer = errors.New("tokenizer does not fit")
	// ErrClosed is returned when a closed model is asked.
	ErrClosed = errors.New("model is closed")
)
