package world

import "hash/fnv"

// heldShare is one of how many entities are reserved.
const heldShare = 5

// Held tells whether an entity, given by its id, is reserved for testing. Every
// method that is trained on edits of the world is trained without edits of
// reserved entities, whatever the relation, and the demonstration episodes in the
// text of the embedded model do not name them. Their facts are stated in that
// text like all others.
func Held(id string) bool {
	h := fnv.New64a()
	h.Write([]byte("held|" + id)) // never fails
	// FNV's low bits depend on the last characters alone: mix as splitmix64 does.
	z := h.Sum64()
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return (z^z>>31)%heldShare == 0
}

// HeldRelations are the relations reserved for testing, by property id: trained
// methods see no edit of them, whatever the subject. They are home venue, chief
// executive officer, director, religion and instrument. The text of the embedded
// model has episodes of them, about entities that are not reserved: a language
// model that is to be edited has seen every relation change.
func HeldRelations() []string { return []string{"P115", "P169", "P57", "P140", "P1303"} }

// HeldRelation tells whether a property is among HeldRelations.
func HeldRelation(property string) bool {
	for _, p := range HeldRelations() {
		if p == property {
			return true
		}
	}
	return false
}
