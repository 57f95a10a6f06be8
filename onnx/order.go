package onnx

import (
	"container/heap"
	"fmt"
)

// sortIfNeeded puts nodes out of order into topological order, at every level.
// Graphs with a cycle are left as they are for Check to refuse.
func (g *Graph) sortIfNeeded() {
	for _, n := range g.Nodes {
		n.graphs((*Graph).sortIfNeeded)
	}
	if g.firstEarly() == nil {
		return
	}
	if nodes, ok := g.sorted(); ok {
		g.Nodes = nodes
	}
}

// firstEarly returns the first node that reads a value of g produced by itself
// or a later node, nil if the nodes are in order.
func (g *Graph) firstEarly() *Node {
	pending := make(map[string]bool, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o != "" {
				pending[o] = true
			}
		}
	}
	for _, n := range g.Nodes {
		early := false
		n.reads(func(v string) { early = early || pending[v] })
		if early {
			return n
		}
		for _, o := range n.Outputs {
			delete(pending, o)
		}
	}
	return nil
}

// sorted returns the nodes in topological order, staying as close to the
// present order as possible. ok is false if there is a cycle.
func (g *Graph) sorted() (nodes []*Node, ok bool) {
	producer := make(map[string]int, len(g.Nodes))
	for i, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o != "" {
				producer[o] = i
			}
		}
	}
	waits := make([]int, len(g.Nodes)) // unsatisfied reads of each node
	feeds := make([][]int, len(g.Nodes))
	for i, n := range g.Nodes {
		n.reads(func(v string) {
			if p, found := producer[v]; found {
				waits[i]++
				feeds[p] = append(feeds[p], i)
			}
		})
	}
	var ready indexHeap
	for i, w := range waits {
		if w == 0 {
			ready = append(ready, i) // ascending, so already a heap
		}
	}
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		nodes = append(nodes, g.Nodes[i])
		for _, j := range feeds[i] {
			if waits[j]--; waits[j] == 0 {
				heap.Push(&ready, j)
			}
		}
	}
	return nodes, len(nodes) == len(g.Nodes)
}

// settle restores topological order after a change to g.
func (g *Graph) settle() error {
	early := g.firstEarly()
	if early == nil {
		return nil
	}
	nodes, ok := g.sorted()
	if !ok {
		return fmt.Errorf("%w through node %s", ErrCycle, early.label())
	}
	g.Nodes = nodes
	return nil
}

// label names a node in error messages.
func (n *Node) label() string {
	if n.Name != "" {
		return fmt.Sprintf("%q (%s)", n.Name, n.OpType)
	}
	for _, o := range n.Outputs {
		if o != "" {
			return fmt.Sprintf("%s -> %q", n.OpType, o)
		}
	}
	return n.OpType
}

type indexHeap []int

func (h indexHeap) Len() int           { return len(h) }
func (h indexHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h indexHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *indexHeap) Push(x any)        { *h = append(*h, x.(int)) }
func (h *indexHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
