package kn

import "editpipe/edit"

// base has the published settings.
func base() Config {
	return Config{
		Variant: Paper, Mode: Change, Attribution: Integrated, Steps: 20, Threshold: 0.2,
		Refine: asVariant, Tokens: asVariant, Space: asVariant, Old: 1, New: 8, Facts: 20,
	}
}

// presets has the threshold in EasyEdit's file for GPT-J.
func presets() []edit.Preset {
	return []edit.Preset{{Family: "gptj", Set: "adaptive_threshold=0.1"}}
}
