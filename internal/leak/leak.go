// Package leak makes the models of tests wrong on purpose, to show that tests
// which compare rows alone and in company would notice rows that see each other.
// Only a build with the tag sabotage does so (task test:sabotage).
package leak
