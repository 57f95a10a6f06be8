// Package families holds the tests that ask of every family of decoder-only
// models whether editpipe computes it, differentiates it and edits it right, in
// every form in which it is exported. The models are tiny and seeded; what
// their graphs compute is compared with a second implementation in plain Go
// and float64, written from the papers and the published configurations, that
// knows nothing of graphs.
package families
