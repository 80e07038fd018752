// A hot function with a name.
package main

var sum uint64

//go:noinline
func spinHere() {
	for i := uint64(0); i < 20000000; i++ {
		sum += i * i
	}
}

func main() {
	for {
		spinHere()
	}
}
