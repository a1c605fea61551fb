package main

import (
	"fmt"
	"reflect"
	"runtime"
	"time"
)

// patience is generous: the machine may be busy compiling.
const patience = 60 * time.Second

// A failure ends a scenario; it names the line of the scenario that found it.
type failure struct{ text string }

func (f failure) Error() string { return f.text }

func fail(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	for depth := 1; depth < 8; depth++ {
		if _, file, line, ok := runtime.Caller(depth); ok {
			text += fmt.Sprintf("\n     at %s:%d", file, line)
		}
	}
	panic(failure{text})
}

func check(holds bool, format string, values ...any) {
	if !holds {
		fail(format, values...)
	}
}

func equal(expected, actual any, format string, values ...any) {
	if !reflect.DeepEqual(expected, actual) {
		fail("%s: expected %v, got %v", fmt.Sprintf(format, values...), expected, actual)
	}
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// eventually waits for a condition; what is asked only at the end, so that it can tell the last state.
func eventually(holds func() bool, what func() string) {
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			fail("not within %s: %s", patience, what())
		}
	}
}

// settle lets a wrong extra delivery arrive, where the scenario claims that none comes.
func settle() { time.Sleep(time.Second) }
