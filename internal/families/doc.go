// Package families contains the tests that check for every family of
// decoder-only models that editpipe computes, differentiates and edits its
// models correctly, in every form in which they are exported. The models are
// tiny and seeded; what their graphs compute is compared with a second
// implementation in plain Go and float64, written from the papers and the
// published configurations, that knows nothing of graphs.
package families
