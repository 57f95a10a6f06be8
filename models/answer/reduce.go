package answer

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"editpipe/ask"
	"editpipe/models/run"
)

// reduce turns the logits of a question's target positions, [n, V], into statistics
// of its continuation, and compares the distributions where that is wanted. The
// position of the end token, where there is one, follows.
func (s *scoring) reduce(q *run.Question, logits []float32, vocab int) {
	of := s.of[q]
	gold := q.Gold()
	n := len(gold)
	of.out = ask.Continuation{
		IDs: gold, Argmax: make([]int64, n), LogProbs: make([]float64, n), MinGap: math.Inf(1),
	}
	norms := make([]float64, n) // log of the sum of exponentials
	for t, id := range gold {
		row := logits[t*vocab : (t+1)*vocab]
		p := scan(row, int(id))
		if !p.finite {
			of.err = fmt.Errorf("%w: at target token %d", ask.ErrNotFinite, t)
			return
		}
		norms[t] = p.logSum
		of.out.Argmax[t], of.out.LogProbs[t] = int64(p.best), float64(row[id])-p.logSum
		of.out.MinGap = min(of.out.MinGap, p.gap)
		if t == 0 {
			of.out.FirstRank = int32(p.rank)
		}
	}
	if q.Ends {
		end := int(q.Target[n])
		row := logits[n*vocab:]
		p := scan(row, end)
		if !p.finite {
			of.err = fmt.Errorf("%w: behind the target", ask.ErrNotFinite)
			return
		}
		lp := float64(row[end]) - p.logSum
		of.out.EOSLogProb, of.out.EOSArgmax = &lp, slices.Contains(s.eos, int64(p.best))
		logits = logits[:n*vocab]
	}
	if of.keep {
		of.dist = make([]float32, n*vocab)
		for i, x := range logits {
			of.dist[i] = float32(float64(x) - norms[i/vocab])
		}
	}
	for _, c := range of.compare {
		base := s.of[c.base]
		if base.err != nil {
			continue // the row reports it
		}
		var sum float64
		for i, x := range logits {
			logP := float64(base.dist[i])
			if p := math.Exp(logP); p > 0 {
				sum += p * (logP - (float64(x) - norms[i/vocab]))
			}
		}
		// Rounding may leave a tiny negative number where the two are equal.
		c.kl = max(sum/float64(n), 0)
	}
}

// peak is what one position's logits say.
type peak struct {
	best   int     // index of the largest; the lowest index wins a tie
	gap    float64 // largest minus second largest
	rank   int     // of the gold token: how many come before it
	logSum float64
	finite bool
}

func scan(row []float32, gold int) peak {
	p := peak{best: 0, finite: true}
	second := float32(math.Inf(-1))
	g := row[gold]
	for i, x := range row {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			p.finite = false
			return p
		}
		if x > row[p.best] {
			second, p.best = row[p.best], i
		} else if x > second && i != p.best {
			second = x
		}
		if x > g || x == g && i < gold {
			p.rank++
		}
	}
	top := float64(row[p.best])
	if p.gap = top - float64(second); len(row) == 1 {
		p.gap = 0
	}
	var sum float64
	for _, x := range row {
		sum += math.Exp(float64(x) - top)
	}
	p.logSum = top + math.Log(sum)
	return p
}

// inParallel calls f(0) ... f(n-1) on as many goroutines as there are processors.
func inParallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
