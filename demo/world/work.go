package world

import (
	"fmt"
	"strings"
)

// hire takes n people from those who have no occupation yet.
func (w *World) hire(n int, occupation string) []*Entity {
	o := w.occupation(occupation)
	var out []*Entity
	for range n {
		if len(w.workers) == 0 {
			panic("world: too few people for the jobs") // the sizes in this package disagree
		}
		i := w.intn(len(w.workers))
		p := w.workers[i]
		w.workers[i] = w.workers[len(w.workers)-1]
		w.workers = w.workers[:len(w.workers)-1]
		p.item("P106", o)
		out = append(out, p.Entity)
	}
	return out
}

// addWork makes the companies, their heads and founders, and gives everybody
// whom no other trade needs an employer.
func (w *World) addWork() {
	heads := w.hire(132, "executive")
	for i := range 116 {
		c := w.add("company", w.with(2, " Works", " Industries", " Group", "corp", " Brothers", " Trading"), "company")
		c.item("P159", w.any("city"))
		c.item("P452", w.any("industry"))
		c.year("P571", w.between(1880, 2005))
		c.claim(Claim{Property: "P169", Object: heads[i], Start: w.between(2000, 2022)})
		if w.chance(25) {
			c.claim(Claim{Property: "P169", Object: w.any("human"), Start: 1980, End: w.between(1990, 1999)})
		}
		c.item("P112", heads[w.intn(len(heads))])
		if w.chance(15) {
			c.item("P112", w.any("human"))
		}
		if w.chance(65) {
			c.alias(w.with(2, " Stores", " Mills", " Partners"), "P1448", w.between(1950, 2000))
		}
		if w.chance(20) {
			c.alias(strings.ToUpper(c.Label[:4]), "P1813", 0)
		}
	}
	for i := range 96 {
		p := w.add("product", fmt.Sprintf("%s %d", w.stem(2), 10*w.between(1, 99)), w.pick([]string{"lamp", "bicycle", "stove", "radio"}))
		p.item("P176", w.kinds["company"][i*7%116])
		p.year("P577", w.between(1960, 2023))
		if w.chance(60) {
			p.alias(w.stem(2), "P1449", 0)
		}
	}
	politicians := w.hire(112, "politician")
	w.politicians = politicians
	for _, n := range []struct {
		count int
		trade string
	}{{40, "novelist"}, {26, "film director"}, {24, "composer"}, {30, "architect"}} {
		w.hire(n.count, n.trade)
	}
	w.athletes = append(w.athletes, w.hire(70, "athlete")...)
	w.coaches = w.hire(76, "coach")
	trades := strings.Fields("professor baker carpenter nurse surveyor tailor chemist farmer librarian translator watchmaker glassblower beekeeper mason")
	for i := 0; len(w.workers) > 0; i++ {
		trade := trades[i%len(trades)]
		p := w.hire(1, trade)[0]
		where := "company"
		if trade == "professor" {
			where = "university"
		}
		p.item("P108", w.any(where))
		if w.chance(15) {
			p.claim(Claim{Property: "P108", Object: w.any(where), Start: 1995, End: 2005})
		}
		if w.chance(8) {
			p.item("P108", w.any("university"))
		}
	}
	for i, p := range w.kinds["human"] {
		if i%4 == 0 || p.one("P106").Label == "composer" {
			p.item("P1303", w.any("instrument"))
		}
	}
}

func (w *World) byTrade(occupation string) []*Entity {
	var out []*Entity
	for _, p := range w.kinds["human"] {
		if p.one("P106") != nil && p.one("P106").Label == occupation {
			out = append(out, p)
		}
	}
	return out
}

// addWorks makes books, films and anthems.
func (w *World) addWorks() {
	authors, directors, composers := w.byTrade("novelist"), w.byTrade("film director"), w.byTrade("composer")
	for range 120 {
		b := w.add("book", w.title("The ", adjectives(), nouns()), "novel")
		author := authors[w.intn(len(authors))]
		b.item("P50", author)
		if w.chance(6) {
			b.item("P50", authors[w.intn(len(authors))])
		}
		b.item("P407", author.one("P103"))
		b.item("P136", w.any("genre"))
		b.year("P577", w.between(1960, 2022))
		if w.chance(50) {
			b.alias(w.stem(2), "P1449", 0)
		}
	}
	for range 80 {
		f := w.add("film", w.title("", adjectives(), nouns()), "film")
		f.item("P57", directors[w.intn(len(directors))])
		f.item("P136", w.any("genre"))
		f.year("P577", w.between(1950, 2023))
		if w.chance(40) {
			f.item("P144", w.any("book"))
		}
		if w.chance(50) {
			f.alias(w.stem(2), "P1449", 0)
		}
	}
	for i := range nCountries + 14 {
		a := w.add("anthem", w.title("Song of the ", adjectives(), nouns()), "solemn song")
		a.item("P86", composers[w.intn(len(composers))])
		if i < nCountries {
			w.kinds["country"][i].item("P85", a)
			a.item("P17", w.kinds["country"][i])
		}
	}
}

// addClubs makes leagues, stadiums, clubs and their players.
func (w *World) addClubs() {
	for i := range 14 {
		l := w.add("league", w.stem(2)+" League", "league")
		l.item("P641", w.kinds["sport"][i%nSports])
		l.year("P571", w.between(1900, 1990))
	}
	architects := w.byTrade("architect")
	for range 78 {
		s := w.add("stadium", w.stem(2)+w.pick([]string{" Park", " Arena", " Ground"}), "stadium")
		s.item("P84", architects[w.intn(len(architects))])
		s.item("P17", w.any("country"))
		s.year("P571", w.between(1920, 2015))
		if w.chance(50) {
			s.alias(w.stem(2)+" Field", "P1448", 2000)
		}
	}
	stadiums := w.shuffled(w.kinds["stadium"])
	cities := w.shuffled(w.kinds["city"])
	for i := range 62 {
		home, name := cities[i], w.stem(2)
		if i%3 == 0 {
			name = home.Label
		}
		c := w.add("sports_club", name+" "+w.pick([]string{"Rovers", "Wanderers", "United", "Athletic"}), "sports club")
		league := w.any("league")
		c.item("P159", home)
		c.item("P118", league)
		c.item("P641", league.one("P641"))
		c.item("P115", stadiums[i])
		stadiums[i].item("P466", c)
		c.claim(Claim{Property: "P286", Object: w.coaches[i], Start: w.between(2010, 2023)})
		if w.chance(40) {
			c.claim(Claim{Property: "P286", Object: w.coaches[62+w.intn(14)], Start: 2001, End: w.between(2005, 2009)})
		}
		c.year("P571", w.between(1880, 1980))
		if w.chance(60) {
			c.alias(w.stem(2), "P1449", 0)
		}
	}
	for _, p := range w.athletes {
		club := w.any("sports_club")
		p.item("P54", club)
		p.item("P641", club.one("P641"))
		if w.chance(30) {
			p.claim(Claim{Property: "P54", Object: w.any("sports_club"), Start: 2010, End: 2014})
		}
	}
}

// addOffices fills the political offices, former holders included.
func (w *World) addOffices() {
	free := w.shuffled(w.politicians)
	for i, c := range w.kinds["country"] {
		c.claim(Claim{Property: "P35", Object: free[i], Start: w.between(2012, 2023)})
		if w.chance(60) {
			c.claim(Claim{Property: "P35", Object: free[len(free)-1-w.intn(20)], Start: 2004, End: w.between(2008, 2011)})
		}
	}
	cities := w.shuffled(w.kinds["city"])
	for i := range 60 {
		cities[i].claim(Claim{Property: "P6", Object: free[nCountries+i], Start: w.between(2015, 2023)})
	}
}

// addFlaws makes the world as imperfect as a real knowledge base: labels under
// "mul", items without a label, wrong values of deprecated rank, unknown and
// absent values.
func (w *World) addFlaws() {
	for i, p := range w.shuffled(w.kinds["human"]) {
		switch {
		case i < 8:
			p.Mul = true
		case i < 14:
			p.Label, p.Aliases = "", nil
		case i < 20:
			p.claim(Claim{Property: "P140", SnakType: "somevalue"})
		case i < 26:
			p.claim(Claim{Property: "P1303", SnakType: "novalue"})
		}
	}
	for _, c := range w.shuffled(w.kinds["country"])[:8] {
		c.claim(Claim{Property: "P36", Object: w.any("city"), Rank: "deprecated"})
	}
	for _, b := range w.shuffled(w.kinds["book"])[:10] {
		b.claim(Claim{Property: "P50", Object: w.any("human"), Rank: "deprecated"})
	}
}
