package generator_test
import ("testing";"fmt";"editpipe/generator";"editpipe/dataset";"editpipe/demo/world")
func TestDev(t *testing.T){
 kb:=worldKB(t,1,world.AsOf,nil)
 p:=generate(t,kb,generator.Options{N:200,Seed:1,SetName:"world"})
 fmt.Println(p.counts.Probes); fmt.Println(p.counts.Rejects)
 seen:=map[string]int{}
 for i:=range p.probes{ q:=p.probes[(i*997+13)%len(p.probes)]; k:=string(q.Axis); if q.Axis!=dataset.AxisOneHop&&q.Axis!=dataset.AxisOtherRelations{k+=q.Variant}; if seen[k]>=6 {continue}; seen[k]++; fmt.Printf("%s/%s %q -> %q | c %q %v %v\n",q.Axis,q.Variant,q.Prompt,q.Answers[0],q.Contrast,q.Flags,q.Choices)}
}
