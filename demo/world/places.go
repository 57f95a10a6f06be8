package world

import "strings"

// Numbers of things in the world.
const (
	nContinents  = 6
	nCountries   = 40
	nLanguages   = 34
	nCurrencies  = 32
	citiesEach   = 6
	nRivers      = 56
	nSeas        = 12
	nSports      = 8
	nInstruments = 14
	nReligions   = 8
)

// addBasics makes the things other things are described by.
func (w *World) addBasics() {
	for range nContinents {
		w.add("continent", w.with(2, "ea", "ora", "ica"), "continent")
	}
	for range nLanguages {
		w.add("language", w.with(2, "ish", "ese", "ic", "an"), "language")
	}
	for range nCurrencies {
		w.add("currency", strings.ToLower(w.with(1, "ar", "in", "o", "elle")), "currency")
	}
	for range nReligions {
		w.add("religion", w.with(2, "ism", "anism"), "religion")
	}
	for range nSports {
		w.add("sport", strings.ToLower(w.with(1, "ball", "ey", "ing")), "team sport")
	}
	for range nInstruments {
		w.add("instrument", strings.ToLower(w.with(1, "phone", "ine", "ola", "horn")), "musical instrument")
	}
	for _, g := range strings.Fields("mystery comedy tragedy romance satire adventure horror fantasy") {
		w.add("genre", g, "genre")
	}
	for _, g := range strings.Fields("shipbuilding mining brewing textiles printing optics fishing banking pottery forestry") {
		w.add("industry", g, "branch of industry")
	}
	for _, g := range append([]string{"politician", "executive", "novelist", "film director", "composer", "athlete", "coach",
		"architect", "professor"}, strings.Fields("baker carpenter nurse surveyor tailor chemist farmer librarian translator "+
		"watchmaker glassblower beekeeper mason")...) {
		w.add("occupation", g, "occupation")
	}
	for range nSeas {
		w.add("sea", w.stem(2)+" Sea", "sea")
	}
}

func (w *World) occupation(label string) *Entity {
	for _, o := range w.kinds["occupation"] {
		if o.Label == label {
			return o
		}
	}
	panic("world: no occupation " + label) // the lists in this file disagree
}

func (w *World) addPlaces() {
	languages := w.shuffled(w.kinds["language"])
	currencies := w.shuffled(w.kinds["currency"])
	for i := range nCountries {
		c := w.add("country", w.with(2, "ia", "land", "mark", "stan", "or", "essa"), "country")
		c.Sitelinks += 60
		c.alias(w.pick([]string{"Greater ", "United ", "Free "})+c.Label, "", 0)
		if w.chance(75) {
			c.alias(w.with(2, "ia", "land", "mark", "um"), "P1448", w.between(1880, 1970))
		}
		if w.chance(50) {
			c.alias(strings.ToUpper(c.Label[:3]), "P1813", 0)
		}
		if w.chance(30) {
			c.alias(w.stem(2), "P1449", 0)
		}
		c.item("P30", w.kinds["continent"][i%nContinents])
		c.item("P37", languages[i%len(languages)])
		if w.chance(12) {
			c.item("P37", languages[(i+7)%len(languages)])
		}
		c.item("P38", currencies[i%len(currencies)])
		c.year("P571", w.between(1500, 1960))
		w.addCities(c)
		b := w.add("bank", w.pick([]string{"Central Bank of ", "National Bank of "})+c.Label, "central bank")
		b.item("P17", c)
		b.year("P571", w.between(1800, 1990))
		c.item("P1304", b)
	}
	w.shareFormerNames()
	for range nRivers {
		r := w.add("river", w.with(2, "a", "en", "ow"), "river")
		r.item("P17", w.any("country"))
		if w.chance(60) {
			r.alias(w.stem(2)+" Water", "P1448", w.between(1800, 1950))
		}
		switch {
		case w.chance(65) || len(w.kinds["river"]) < 10:
			r.item("P403", w.any("sea"))
		default:
			// A river flows into one that exists already, so no circle arises.
			r.item("P403", w.kinds["river"][w.intn(len(w.kinds["river"])-1)])
		}
	}
}

func (w *World) addCities(country *Entity) {
	var cities []*Entity
	for range citiesEach {
		city := w.add("city", w.with(1+w.intn(2), "burg", "ton", "port", "vik", "ford", "mouth", "grad"), "city in "+country.Label)
		city.Sitelinks += 15
		city.item("P17", country)
		city.year("P571", w.between(900, 1900))
		if w.chance(60) {
			city.alias(w.with(2, "um", "holm", "dale"), "P1448", w.between(1850, 1960))
		}
		if w.chance(20) {
			city.alias(w.stem(2), "P1449", 0)
		}
		if w.chance(15) {
			city.alias(city.Label+" City", "", 0)
		}
		cities = append(cities, city)
	}
	seat := cities[0]
	seat.Sitelinks += 40
	if w.chance(20) {
		// The seat has moved: an ended statement on both sides, the new one preferred.
		moved := w.between(1950, 2010)
		old := cities[1]
		country.claim(Claim{Property: "P36", Object: old, Start: moved - 80, End: moved})
		old.claim(Claim{Property: "P1376", Object: country, Start: moved - 80, End: moved})
		country.claim(Claim{Property: "P36", Object: seat, Start: moved, Rank: "preferred"})
		seat.claim(Claim{Property: "P1376", Object: country, Start: moved})
		return
	}
	country.item("P36", seat)
	seat.item("P1376", country)
}

// shareFormerNames gives some pairs of cities one former name, which makes that
// name useless for asking about either, and one pair in which the better known
// city clearly owns it.
func (w *World) shareFormerNames() {
	cities := w.shuffled(w.kinds["city"])
	for i := 0; i+1 < 24; i += 2 {
		name := w.with(2, "um", "holm")
		cities[i].alias(name, "P1448", 1900)
		cities[i+1].alias(name, "P1448", 1910)
	}
	for i, c := range w.shuffled(w.kinds["country"])[:6] {
		// A river of the country's nickname: other class, far less known.
		name := w.stem(2)
		c.alias(name, "P1449", 0)
		r := w.add("river", name+" Brook", "brook")
		r.Sitelinks = 1
		r.Aliases = append(r.Aliases, name)
		r.item("P17", w.kinds["country"][i])
		r.item("P403", w.any("sea"))
	}
}
