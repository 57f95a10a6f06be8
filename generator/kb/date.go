package kb

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Date is a day, month or year; Month and Day are 0 where unknown. The zero
// Date is no date. It is small because every statement holds two.
type Date struct {
	Year       int32
	Month, Day int8
}

// ParseDate reads YYYY-MM-DD.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, fmt.Errorf("kb: date %q is not of the form YYYY-MM-DD", s)
	}
	return Date{int32(t.Year()), int8(t.Month()), int8(t.Day())}, nil
}

// EndOfTime is the as-of date of a knowledge base that gives no dates of its
// own: whatever has a stated end is past.
func EndOfTime() Date { return Date{9999, 12, 31} }

func (d Date) String() string {
	if d == (Date{}) {
		return "0000-00-00" // of most facts: they have no dates
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Text writes a date as far as it is known: "1999", "1999-05", "1999-05-01";
// "" for the zero Date. Years before the common era have a minus.
func (d Date) Text() string {
	switch {
	case d == Date{}:
		return ""
	case d.Month == 0:
		return fmt.Sprintf("%04d", d.Year)
	case d.Day == 0:
		return fmt.Sprintf("%04d-%02d", d.Year, d.Month)
	}
	return d.String()
}

// parseText reads what Text writes.
func parseText(s string) (d Date, err error) {
	if s == "" {
		return d, nil
	}
	digits, sign := s, int32(1)
	if s[0] == '-' {
		digits, sign = s[1:], -1
	}
	var n [3]int32
	for i, part := range strings.Split(digits, "-") {
		v, err := strconv.ParseInt(part, 10, partBits(i))
		if err != nil || i > 2 || v < 0 {
			return Date{}, fmt.Errorf("kb: %q is no date", s)
		}
		n[i] = int32(v)
	}
	return Date{Year: sign * n[0], Month: int8(n[1]), Day: int8(n[2])}, nil
}

// Precisions of Wikidata's time values.
const (
	yearPrecision  = 9
	monthPrecision = 10
	dayPrecision   = 11
)

// parseTime reads Wikidata's "+1987-00-00T00:00:00Z". Decades and coarser
// values are refused: they say too little about a date.
func parseTime(s string, precision int) (Date, bool) {
	if len(s) < 2 || precision < yearPrecision {
		return Date{}, false
	}
	sign := 1
	if s[0] == '-' {
		sign = -1
	}
	day, _, _ := strings.Cut(strings.TrimLeft(s, "+-"), "T")
	part := strings.Split(day, "-")
	if len(part) != 3 {
		return Date{}, false
	}
	var n [3]int32
	for i, p := range part {
		v, err := strconv.ParseInt(p, 10, partBits(i))
		if err != nil {
			return Date{}, false
		}
		n[i] = int32(v)
	}
	d := Date{Year: int32(sign) * n[0]}
	if precision >= monthPrecision {
		d.Month = int8(n[1])
	}
	if precision >= dayPrecision {
		d.Day = int8(n[2])
	}
	return d, d.Year != 0
}

// partBits is the size of a date's year, month or day.
func partBits(part int) int {
	if part == 0 {
		return 32
	}
	return 8
}

// After tells whether the first day that d may mean comes after that of other.
func (d Date) After(other Date) bool { return d.earliest() > other.earliest() }

// earliest and latest are comparable numbers for the first and last day a date
// may mean.
func (d Date) earliest() int { return d.ordinal(max(d.Month, 1), max(d.Day, 1)) }

func (d Date) latest() int {
	month, day := d.Month, d.Day
	if month == 0 {
		month = 12
	}
	if day == 0 {
		day = 31
	}
	return d.ordinal(month, day)
}

func (d Date) ordinal(month, day int8) int { return int(d.Year)*10000 + int(month)*100 + int(day) }
