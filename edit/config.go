package edit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"editpipe/models/arch"
)

// Key is one value of a method's configuration, as lists and messages show it.
type Key struct {
	Name    string // as in --set method.name=value
	Type    string // int, float, bool, string, list of int, ...
	Default string // value for the model the keys were asked for
	Share   string // of the model's layers, such as 17/48, where that is what it is by default
	OneOf   string // permitted values, separated by |; empty where there is no list
	Doc     string
}

// Config is a method's effective configuration: defaults for the model with
// overrides applied. It is made by Method.Configure.
type Config struct {
	method string
	value  any // the method's own struct, by value
	keys   []Key
}

// String is the configuration as key=value pairs, sorted by key and separated
// by spaces. Equal configurations give equal strings.
func (c Config) String() string {
	pairs := make([]string, len(c.keys))
	for i, k := range c.keys {
		pairs[i] = k.Name + "=" + k.Default
	}
	slices.Sort(pairs)
	return strings.Join(pairs, " ")
}

// Value is the configuration as the method's own struct.
func (c Config) Value() any { return c.value }

// Map is the configuration by key.
func (c Config) Map() map[string]string {
	m := make(map[string]string, len(c.keys))
	for _, k := range c.keys {
		m[k.Name] = k.Default
	}
	return m
}

// Hash is 16 hexadecimal digits over the method's name and the effective values.
func (c Config) Hash() string {
	sum := sha256.Sum256([]byte(c.method + "\n" + c.String()))
	return hex.EncodeToString(sum[:8])
}

// ParseSet reads one --set argument, method.key=value.
func ParseSet(s string) (method, key, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	method, key, dot := strings.Cut(name, ".")
	if !ok || !dot || method == "" || key == "" {
		return "", "", "", fmt.Errorf("edit: --set %q: want METHOD.KEY=VALUE, for example rome.layer=5", s)
	}
	return method, key, value, nil
}

// fields walks the struct's settable fields in order. A field is settable when
// it has a set tag: `set:"name" doc:"text" oneof:"a|b"`, or in:"layers" for the
// number of one of the model's layers or a list of them; for share see shares.
func fields(v reflect.Value, visit func(f reflect.StructField, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			fields(v.Field(i), visit)
		} else if f.Tag.Get("set") != "" {
			visit(f, v.Field(i))
		}
	}
}

// keysOf describes the struct behind v with its present values as defaults.
func keysOf(v reflect.Value) []Key {
	var keys []Key
	fields(v, func(f reflect.StructField, v reflect.Value) {
		keys = append(keys, Key{
			Name: f.Tag.Get("set"), Type: typeName(f.Type), Default: format(v), Share: f.Tag.Get("share"),
			OneOf: f.Tag.Get("oneof"), Doc: f.Tag.Get("doc"),
		})
	})
	return keys
}

// override sets the fields named by overrides in the addressable struct v and
// reports every fault, not the first only.
func override(method string, v reflect.Value, overrides map[string]string) error {
	var faults []string
	known := map[string]bool{}
	fields(v, func(f reflect.StructField, v reflect.Value) {
		key := f.Tag.Get("set")
		known[key] = true
		text, ok := overrides[key]
		if !ok {
			return
		}
		if err := parse(v, text); err != nil {
			faults = append(faults, fmt.Sprintf("%s.%s=%s: want %s", method, key, text, typeName(f.Type)))
		} else if list := f.Tag.Get("oneof"); list != "" && !slices.Contains(strings.Split(list, "|"), text) {
			faults = append(faults, fmt.Sprintf("%s.%s=%s: want one of %s", method, key, text, strings.ReplaceAll(list, "|", ", ")))
		}
	})
	for key := range overrides {
		if !known[key] {
			faults = append(faults, fmt.Sprintf("%s.%s: unknown key", method, key))
		}
	}
	if faults == nil {
		return nil
	}
	slices.Sort(faults)
	return fmt.Errorf("%s; %s", strings.Join(faults, "; "), describe(method, keysOf(v)))
}

// beyond names the keys whose value is a layer that the model does not have.
func beyond(method string, v reflect.Value, info *arch.Info) error {
	var faults []string
	fields(v, func(f reflect.StructField, v reflect.Value) {
		if f.Tag.Get("in") != "layers" || info.Layers == 0 {
			return
		}
		list := []reflect.Value{v}
		if v.Kind() == reflect.Slice {
			list = nil
			for i := range v.Len() {
				list = append(list, v.Index(i))
			}
		}
		if slices.ContainsFunc(list, func(v reflect.Value) bool { return v.Int() < 0 || v.Int() >= int64(info.Layers) }) {
			faults = append(faults, fmt.Sprintf("%s.%s=%s: the model has %d layers, 0 to %d", method, f.Tag.Get("set"), format(v), info.Layers, info.Layers-1))
		}
	})
	if faults == nil {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

// describe lists a method's keys for an error message.
func describe(method string, keys []Key) string {
	if len(keys) == 0 {
		return method + " has no keys"
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.Name
		if k.OneOf != "" {
			names[i] += " (" + k.OneOf + ")"
		}
	}
	slices.Sort(names)
	return "keys of " + method + " are " + strings.Join(names, ", ")
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "int"
	case reflect.Float64:
		return "float"
	case reflect.Slice:
		return "list of " + typeName(t.Elem()) + ", separated by commas"
	}
	return t.Kind().String()
}

func format(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = format(v.Index(i))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

func parse(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(n)
	case reflect.Float64:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("not a finite number")
		}
		v.SetFloat(x)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.String:
		v.SetString(text)
	case reflect.Slice:
		var parts []string
		if text != "" {
			parts = strings.Split(text, ",")
		}
		list := reflect.MakeSlice(v.Type(), len(parts), len(parts))
		for i, p := range parts {
			if err := parse(list.Index(i), strings.TrimSpace(p)); err != nil {
				return err
			}
		}
		v.Set(list)
	default:
		return fmt.Errorf("a field of type %s cannot be a key", v.Type())
	}
	return nil
}
