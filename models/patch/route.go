package patch

import (
	"context"

	"editpipe/ask"
)

// Route is the part of a patch that puts other questions in the place of those
// that are asked, such as the same ones behind a text.
type Route interface {
	// Route says where each question goes; ways are parallel to questions. It is
	// asked once with all the questions of its patch and is pure: the same
	// questions in any grouping go the same ways. An error is that of all
	// questions and ends the call; one of a single question is its Way's.
	Route(ctx context.Context, m Reader, questions []ask.Query) ([]Way, error)
	// Kind names the decoder that Load needs to read it back.
	Kind() string
	// Save writes what Route needs into a folder.
	Save(dir string) error
}

// Way is where a question goes.
type Way struct {
	Query ask.Query // what is asked instead
	Model string    // of whom: "" the model itself, else a companion of the patch
	Skip  bool      // out of scope: asked as it came in, as if there were no patch
	Err   error     // why it cannot be asked; the answer's error
}

// Reader is what a route may ask of the model, which it leaves as it is.
type Reader interface {
	// PromptTokens is the number of tokens of a prompt with a target behind it.
	PromptTokens(prompt, target string) (int, error)
	// Context is the most tokens that a prompt and its longest target may have,
	// less those that are to be generated; 0 when unbounded.
	Context() int
	// Embed gives texts as vectors of one length, see activation.Embed.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}
