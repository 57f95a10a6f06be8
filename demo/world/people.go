package world

// person carries what the family tree needs besides the entity.
type person struct {
	*Entity
	female  bool
	born    int
	died    int // 0 while alive
	surname string
	home    *Entity // city of birth
	parents [2]*person
	spouse  *person
}

// Sizes of the three generations.
const (
	firstCouples  = 100
	childrenEach  = 3
	secondCouples = 80
	thirdCouples  = 60
)

// addPeople makes three generations. Spouses name each other; children name
// both parents and are named by them; a child bears the father's name or, in
// two of five families, the mother's.
func (w *World) addPeople() {
	given := [2][]string{}
	for i := range 150 {
		given[i%2] = append(given[i%2], w.with(1, [2]string{"o", "a"}[i%2], [2]string{"us", "ine"}[i%2], [2]string{"ek", "eth"}[i%2]))
	}
	var surnames []string
	for range 260 {
		surnames = append(surnames, w.with(2, "", "", "sen", "ow", "ard", "ins"))
	}
	taken := map[string]bool{}
	cities := w.kinds["city"]
	birth := func(female bool, surname string, home *Entity, year int) *person {
		sex := 0
		if female {
			sex = 1
		}
		name := ""
		for name == "" || taken[name] {
			name = w.pick(given[sex]) + " " + surname
		}
		taken[name] = true
		p := &person{Entity: w.add("human", name, "person"), female: female, born: year, surname: surname, home: home}
		p.year("P569", year)
		p.item("P19", home)
		country := home.one("P17")
		if w.chance(10) {
			p.item("P27", w.any("country"))
		} else {
			p.item("P27", country)
		}
		if w.chance(5) {
			p.item("P27", w.any("country"))
		}
		p.item("P103", country.one("P37"))
		if w.chance(70) {
			p.item("P140", w.any("religion"))
		}
		if year < 1946 && w.chance(60) {
			p.died = w.between(1992, 2020)
			p.year("P570", p.died)
			p.item("P20", w.any("city"))
		}
		w.nameAgain(p)
		return p
	}

	var first []*person
	for i := range 2 * firstCouples {
		first = append(first, birth(i%2 == 1, surnames[i], cities[w.intn(len(cities))], w.between(1922, 1945)))
	}
	var second []*person
	for i := 0; i < len(first); i += 2 {
		w.marry(first[i], first[i+1])
		second = append(second, w.raise(first[i], first[i+1], birth)...)
	}
	var third []*person
	for i, c := range w.match(second, secondCouples) {
		w.marry(c[0], c[1])
		if i < thirdCouples {
			third = append(third, w.raise(c[0], c[1], birth)...)
		}
	}
	for _, c := range w.match(third, thirdCouples/2) {
		w.marry(c[0], c[1])
	}
	w.divorce(second)
	w.study(append(append(append([]*person(nil), first...), second...), third...))
}

// nameAgain gives some people other names: a pseudonym or nickname of their own,
// initials (often shared by several people).
func (w *World) nameAgain(p *person) {
	if w.chance(40) {
		p.alias(w.stem(2), w.pick([]string{"P1449", "P742"}), 0)
	}
	if w.chance(25) {
		p.alias(p.Label[:1]+". "+p.surname, "P1813", 0)
	}
	if w.chance(15) {
		p.alias("Dr "+p.Label, "", 0)
	}
}

func (w *World) raise(father, mother *person, birth func(bool, string, *Entity, int) *person) []*person {
	surname := father.surname
	if w.chance(40) {
		surname = mother.surname
	}
	var out []*person
	year := max(father.born, mother.born) + w.between(21, 26)
	for range childrenEach {
		home := father.home
		if w.chance(50) {
			home = w.any("city")
		}
		c := birth(w.chance(50), surname, home, year)
		c.parents = [2]*person{father, mother}
		c.item("P22", father.Entity)
		c.item("P25", mother.Entity)
		father.item("P40", c.Entity)
		mother.item("P40", c.Entity)
		out = append(out, c)
		year += w.between(1, 4)
	}
	return out
}

// marry states the marriage on both sides; it ended with the first death.
func (w *World) marry(a, b *person) {
	year := max(a.born, b.born) + 20
	end := 0
	if a.died != 0 || b.died != 0 {
		end = max(a.died, b.died)
		if a.died != 0 && b.died != 0 {
			end = min(a.died, b.died)
		}
	}
	a.spouse, b.spouse = b, a
	a.claim(Claim{Property: "P26", Object: b.Entity, Start: year, End: end})
	b.claim(Claim{Property: "P26", Object: a.Entity, Start: year, End: end})
}

// divorce gives some married couples an earlier, ended marriage with someone
// who is single now.
func (w *World) divorce(people []*person) {
	var single []*person
	for _, p := range people {
		if p.spouse == nil {
			single = append(single, p)
		}
	}
	for _, p := range people {
		if p.spouse == nil || !w.chance(12) || len(single) == 0 {
			continue
		}
		former := single[w.intn(len(single))]
		if former.female == p.female || former.parents == p.parents {
			continue
		}
		start, end := max(p.born, former.born)+19, max(p.born, former.born)+20
		p.claim(Claim{Property: "P26", Object: former.Entity, Start: start, End: end})
		former.claim(Claim{Property: "P26", Object: p.Entity, Start: start, End: end})
	}
}

// match pairs people of about the same age and different families.
func (w *World) match(people []*person, n int) [][2]*person {
	var men, women []*person
	for _, p := range people {
		if p.female {
			women = append(women, p)
		} else {
			men = append(men, p)
		}
	}
	var out [][2]*person
	free := map[*person]bool{}
	for _, m := range women {
		free[m] = true
	}
	for _, m := range men {
		for _, f := range women {
			if len(out) < n && free[f] && m.parents != f.parents && m.surname != f.surname && abs(m.born-f.born) < 9 {
				free[f] = false
				out = append(out, [2]*person{m, f})
				break
			}
		}
	}
	return out
}

func abs(a int) int {
	if a < 0 {
		return -a
	}
	return a
}

// study makes the universities and sends people to them.
func (w *World) study(people []*person) {
	for i := range 48 {
		city := w.kinds["city"][i*5%len(w.kinds["city"])]
		name := w.stem(2) + " " + w.pick([]string{"University", "College", "Institute"})
		if i%4 == 0 {
			name = city.Label + " University"
		}
		u := w.add("university", name, "university")
		u.item("P159", city)
		u.item("P17", city.one("P17"))
		u.year("P571", w.between(1700, 1970))
		if w.chance(60) {
			u.alias(w.with(2, " Academy", " School"), "P1448", w.between(1900, 1990))
		}
	}
	for _, p := range people {
		if w.chance(65) {
			p.item("P69", w.any("university"))
			if w.chance(8) {
				p.item("P69", w.any("university"))
			}
		}
	}
	w.workers = nil
	for _, p := range people {
		if p.died == 0 {
			w.workers = append(w.workers, p)
		} else {
			p.item("P106", w.any("occupation"))
		}
	}
}
