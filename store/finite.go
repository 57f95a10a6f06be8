package store

import (
	"fmt"
	"math"
	"reflect"
	"strings"
)

// guard finds the first number in a row that is not finite: it returns the
// column and the number, or an empty column. Nil means that the type holds no
// floating-point number at all.
type guard func(v reflect.Value) (column string, x float64)

// guardOf builds a row type's guard once, so that rows are walked only where
// they hold floating-point numbers.
func guardOf[T any]() guard { return guardFor(reflect.TypeFor[T]()) }

func guardFor(t reflect.Type) guard {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return func(v reflect.Value) (string, float64) {
			if x := v.Float(); math.IsNaN(x) || math.IsInf(x, 0) {
				return ".", x
			}
			return "", 0
		}
	case reflect.Pointer:
		inner := guardFor(t.Elem())
		if inner == nil {
			return nil
		}
		return func(v reflect.Value) (string, float64) {
			if v.IsNil() {
				return "", 0
			}
			return inner(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		inner := guardFor(t.Elem())
		if inner == nil {
			return nil
		}
		return func(v reflect.Value) (string, float64) {
			for i := range v.Len() {
				if c, x := inner(v.Index(i)); c != "" {
					return c, x
				}
			}
			return "", 0
		}
	case reflect.Struct:
		return guardStruct(t)
	}
	return nil
}

func guardStruct(t reflect.Type) guard {
	type column struct {
		index int
		name  string
		guard guard
	}
	var columns []column
	for i := range t.NumField() {
		if g := guardFor(t.Field(i).Type); g != nil {
			name := columnName(t.Field(i))
			if t.Field(i).Anonymous { // its fields are columns of this row
				name = ""
			}
			columns = append(columns, column{i, name, g})
		}
	}
	if columns == nil {
		return nil
	}
	return func(v reflect.Value) (string, float64) {
		for _, c := range columns {
			if inner, x := c.guard(v.Field(c.index)); inner != "" {
				return strings.Trim(c.name+"."+strings.TrimPrefix(inner, "."), "."), x
			}
		}
		return "", 0
	}
}

// columnName is the name a struct field has as a column.
func columnName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("parquet"), ","); name != "" {
		return name
	}
	return f.Name
}

// guardRows checks rows; first is the number of rows before them.
func guardRows[T any](g guard, rows []T, first int64) error {
	if g == nil {
		return nil
	}
	for i := range rows {
		if c, x := g(reflect.ValueOf(&rows[i]).Elem()); c != "" {
			return fmt.Errorf("row %d, column %s: %w: %v", first+int64(i), c, ErrNotFinite, x)
		}
	}
	return nil
}
