package grad_test
import ("testing";"time";"editpipe/internal/tinylm";"editpipe/onnx";"editpipe/onnx/grad";"path/filepath";"editpipe/ort")
func TestDeep(t *testing.T){ e:=open(t)
 for _,l:=range []int{6,12,24,48}{ for _,f:=range []tinylm.Family{tinylm.GPT2,tinylm.GPTJ}{
 dir:=t.TempDir(); tinylm.Write(dir,tinylm.Config{Family:f,Layers:l}); m:=load(t,filepath.Join(dir,"model.onnx"))
 ps,_:=tinylm.Parameters(tinylm.Config{Family:f,Layers:l})
 w,_:=findWeight(t,m,ps[down(f)])
 grad.AddDelta(m,activation(m,w),"delta","pos"); h,_:=grad.AddHead(m,"logits","")
 fw:=m.Clone(); expose(t,fw,h.Loss)
 n0:=len(m.Graph.Nodes); t0:=time.Now(); g,err:=grad.Gradients(m,h.Loss,"delta"); if err!=nil{t.Fatal(err)}; t1:=time.Since(t0)
 expose(t,m,g[0],h.Loss)
 mk:=func(m *onnx.Model, o ort.Level) time.Duration{ b,_:=m.Bytes(); t0:=time.Now(); s,err:=e.NewSession(t.Context(),b,ort.Options{Threads:1,Optimize:o}); if err!=nil{t.Fatal(err)}; d:=time.Since(t0); s.Close(); return d}
 t.Log(f,l,"nodes",n0,len(m.Graph.Nodes),"grad",t1,"fwd",mk(fw,0),"all",mk(m,0),"basic",mk(m,ort.OptimizeBasic),"none",mk(m,ort.OptimizeNone)) }}
}
