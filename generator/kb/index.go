package kb

// index leads from a text to items. Most texts lead to one item, which then
// costs a number; lists are made for the others alone.
type index struct {
	ids   []string         // all items, by number
	at    map[string]int32 // number of the only item, or the complement of a list's place
	lists [][]string
}

func newIndex(ids []string) index { return index{ids: ids, at: map[string]int32{}} }

// add leads the text to an item, to each once if items come one after another.
// It tells whether the text is new.
func (x *index) add(text string, item int) bool {
	at, ok := x.at[text]
	switch id := x.ids[item]; {
	case !ok:
		x.at[text] = int32(item)
	case at < 0:
		if list := x.lists[^at]; list[len(list)-1] != id {
			x.lists[^at] = append(list, id)
		}
	case int(at) != item:
		x.at[text] = ^int32(len(x.lists))
		x.lists = append(x.lists, []string{x.ids[at], id})
	}
	return !ok
}

// of returns the items of a text, in the order in which they were added.
func (x *index) of(text string) []string {
	at, ok := x.at[text]
	switch {
	case !ok:
		return nil
	case at < 0:
		return x.lists[^at]
	}
	return x.ids[at : at+1 : at+1]
}

// arena hands out memory for many short lists that are kept for ever: one after
// another they lie in long ones, without gaps and with nothing to look after each.
type arena[T any] struct{ free []T }

// perChunk is how many elements an arena asks for at a time.
const perChunk = 4096

// take returns an empty list with room for n elements.
func (a *arena[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if n > len(a.free) {
		if n > perChunk/4 {
			return make([]T, 0, n)
		}
		a.free = make([]T, perChunk)
	}
	list := a.free[:0:n]
	a.free = a.free[n:]
	return list
}
