// Package leak makes the models of tests wrong on purpose, to show that the
// tests which compare a row asked alone with the same row asked together with
// others would notice rows that influence each other. Only a build with the tag
// sabotage does so (task test:sabotage).
package leak
