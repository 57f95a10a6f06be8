package models

import (
	"errors"
	"fmt"
)

var (
	// ErrTokenizer is returned when a text is asked of a model that has no
	// tokenizer, or when the tokenizer does not belong to the model.
	ErrTokenizer = errors.New("tokenizer does not fit")
	// ErrRun is returned when the runtime fails to compute a graph on a row that
	// was given, alone as well.
	ErrRun = errors.New("the model's graph failed")
	// ErrVocabulary is returned when a token id lies outside the model's vocabulary.
	ErrVocabulary = errors.New("token id outside the vocabulary")
	// ErrClosed is returned when a closed model is asked.
	ErrClosed = errors.New("model is closed")
	// ErrPatchFile is returned when a saved patch is damaged or incomplete.
	ErrPatchFile = errors.New("patch file is damaged")
)

// MisfitError is returned when a patch was made for something else than the
// model it is used on.
type MisfitError struct {
	What string // what does not fit: model hash, tokenizer hash, or a weight id
	Want string // what the patch needs
	Have string // what the model has
}

func (e *MisfitError) Error() string {
	return fmt.Sprintf("models: patch does not fit the model: %s: patch has %s, model has %s", e.What, e.Want, e.Have)
}
