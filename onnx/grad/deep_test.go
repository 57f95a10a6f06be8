package grad_test
import ("testing";"syscall";"time";"os";"strconv";"editpipe/internal/tinylm";"editpipe/onnx";"editpipe/onnx/grad";"path/filepath";"editpipe/ort")
func cpu() time.Duration { var r syscall.Rusage; syscall.Getrusage(0,&r); return time.Duration(r.Utime.Nano()) }
func TestDeep(t *testing.T){ e:=open(t)
 l,_:=strconv.Atoi(os.Getenv("L")); 
 for _,f:=range []tinylm.Family{tinylm.GPT2}{
 dir:=t.TempDir(); tinylm.Write(dir,tinylm.Config{Family:f,Layers:l}); m:=load(t,filepath.Join(dir,"model.onnx"))
 ps,_:=tinylm.Parameters(tinylm.Config{Family:f,Layers:l})
 w,_:=findWeight(t,m,ps[down(f)])
 grad.AddDelta(m,activation(m,w),"delta","pos"); h,_:=grad.AddHead(m,"logits","")
 fw:=m.Clone(); expose(t,fw,h.Loss); nf:=len(m.Graph.Nodes);  _=nf
 n0:=len(m.Graph.Nodes); g,err:=grad.Gradients(m,h.Loss,"delta"); if err!=nil{t.Fatal(err)}
 expose(t,m,g[0],h.Loss)
 bb,_:=m.Bytes(); os.WriteFile("/tmp/gw/grad"+os.Getenv("L")+".onnx",bb,0o644); bb,_=fw.Bytes(); os.WriteFile("/tmp/gw/fwd"+os.Getenv("L")+".onnx",bb,0o644)
 mk:=func(m *onnx.Model, o ort.Level) time.Duration{ b,_:=m.Bytes(); t0:=cpu(); s,err:=e.NewSession(t.Context(),b,ort.Options{Threads:1,Optimize:o}); if err!=nil{t.Fatal(err)}; d:=cpu()-t0; s.Close(); return d}
 t.Log(f,l,"nodes",n0,len(m.Graph.Nodes),"fwd",mk(fw,0),"fwdnone",mk(fw,ort.OptimizeNone),"all",mk(m,0),"none",mk(m,ort.OptimizeNone)) }
}
