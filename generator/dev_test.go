package generator_test
import ("testing";"fmt";"editpipe/generator";"editpipe/dataset";"editpipe/demo/world";"time")
func TestDev(t *testing.T){
 kb:=worldKB(t,1,world.AsOf)
 t0:=time.Now()
 p:=generate(t,kb,generator.Options{N:200,Seed:1,SetName:"demo"})
 fmt.Println(p.counts.Edits, time.Since(t0)); t0=time.Now()
 p=generate(t,kb,generator.Options{N:1000000,Seed:1,SetName:"demo",Sets:[]dataset.Axis{"reliability"}})
 fmt.Println(p.counts, time.Since(t0))
}
