package store

import (
	"reflect"
	"testing"

	"github.com/parquet-go/parquet-go/format"
)

// The structures of a footer are those of the library but for values, so that
// nothing of a footer is lost where one is added.
func TestFooterStructures(t *testing.T) {
	for _, c := range []struct{ ours, theirs any }{
		{fileMetaData{}, format.FileMetaData{}}, {group{}, format.RowGroup{}}, {chunk{}, format.ColumnChunk{}},
		{chunkMetaData{}, format.ColumnMetaData{}}, {keyValue{}, format.KeyValue{}},
	} {
		ours, theirs := reflect.TypeOf(c.ours), reflect.TypeOf(c.theirs)
		if ours.NumField() != theirs.NumField() {
			t.Errorf("%v has %d fields, %v has %d", ours, ours.NumField(), theirs, theirs.NumField())
			continue
		}
		for i := range ours.NumField() {
			a, b := ours.Field(i), theirs.Field(i)
			if a.Name != b.Name || a.Type.Kind() != b.Type.Kind() || a.Tag != b.Tag && ours != reflect.TypeFor[keyValue]() {
				t.Errorf("%v has %s `%s`, %v has %s `%s`", ours, a.Name, a.Tag, theirs, b.Name, b.Tag)
			}
		}
	}
}
