package ort

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestShimTable compares the positions shim.c uses with the order of the
// functions in the header of the Go binding.
func TestShimTable(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Skip("no go command here to find the binding's header with")
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(header), "\nstruct OrtApi {")
	table, _, _ = strings.Cut(table, "\n};")
	table = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`).ReplaceAllString(table, "")
	plain := func(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "") }
	position := map[string]int{}
	member := regexp.MustCompile(`ORT_API2_STATUS\((\w+)|ORT_CLASS_RELEASE\((\w+)\)|ORT_API_T\([^,]+, (\w+)|ORT_API_CALL\* ?(\w+)\)`)
	for i, m := range member.FindAllStringSubmatch(table, -1) {
		name := m[1] + m[3] + m[4]
		if m[2] != "" {
			name = "Release" + m[2]
		}
		position[plain(name)] = i
	}

	source, err := os.ReadFile("shim.c")
	if err != nil {
		t.Fatal(err)
	}
	// Where the shim's name stands for three consecutive functions.
	series := map[string][]string{
		"sessiongetcount":      {"SessionGetInputCount", "SessionGetOutputCount", "SessionGetOverridableInitializerCount"},
		"sessiongettypeinfo":   {"SessionGetInputTypeInfo", "SessionGetOutputTypeInfo", "SessionGetOverridableInitializerTypeInfo"},
		"sessiongetname":       {"SessionGetInputName", "SessionGetOutputName", "SessionGetOverridableInitializerName"},
		"createtensorwithdata": {"CreateTensorWithDataAsOrtValue"},
	}
	checked := 0
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z_]+) = (\d+),`).FindAllStringSubmatch(string(source), -1) {
		used, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		name := plain(m[1])
		functions, ok := series[name]
		if !ok {
			functions = []string{name}
		}
		for i, function := range functions {
			at, ok := position[plain(function)]
			if !ok || at != used+i {
				t.Errorf("%s: shim.c uses position %d, the header has %s at %d", m[1], used+i, function, at)
			}
			checked++
		}
	}
	if checked < 40 {
		t.Errorf("only %d positions found in shim.c", checked)
	}
}
