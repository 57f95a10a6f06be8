package graph

import "editpipe/models/arch"

// The kinds of neurons beside a feed-forward block, which read what it reads and add
// to what it gives: y + act(x K + b) V, with k [in, n], b [n] and v [n, out] for n
// neurons. The block's own neurons are such, but for the gate that some have.
//
// Huang et al. 2023, Transformer-Patcher: One Mistake Worth One Neuron; Dong et al.
// 2022, Calibrating Factual Knowledge in Pretrained Language Models.
const (
	Neurons     = "neurons"      // with the block's own activation function
	NeuronsReLU = "neurons-relu" // with max(0, .), which is silent below 0, to the bit
)

// neurons is a kind of neurons with an activation function that is finite at 0.
func neurons(own bool, act func(j *joint, x string) (string, error)) network {
	return network{
		At: arch.FFNOut, Reads: arch.FFNIn, Acts: own,
		Params: func(in, out int) []param {
			return []param{{"k", []int{in, perUnit}}, {"b", []int{perUnit}}, {"v", []int{perUnit, out}}}
		},
		Build: func(j *joint, in map[string]string) (string, error) {
			x, err := j.rows()
			if err != nil {
				return "", err
			}
			a, err := act(j, j.Op("Add", []string{j.Op("MatMul", []string{x, in["k"]}), in["b"]}))
			if err != nil {
				return "", err
			}
			return j.sum(j.Op("MatMul", []string{a, in["v"]}))
		},
	}
}
