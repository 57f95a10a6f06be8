package models_test
import ("testing";"os";"fmt";"time";"context";"editpipe/models";"editpipe/ort";"editpipe/edit/ike";"editpipe/ask";"math/rand/v2";"strings")
func TestZZ(t *testing.T){
 lib,err:=ort.Find(""); if err!=nil {t.Fatal(err)}
 env,err:=ort.Open(context.Background(),lib); if err!=nil {t.Fatal(err)}
 lm,err:=models.Open(context.Background(),env,os.Getenv("ZZDIR"),models.Options{Threads:1}); if err!=nil {t.Fatal(err)}
 r:=rand.New(rand.NewPCG(1,1))
 words:=strings.Fields("the town of capital in is born a lives was city river country mother father")
 sent:=func(n int) string { var w []string; for range n { w=append(w,words[r.IntN(len(words))]) }; return strings.Join(w," ") }
 var rows []models.Row
 for e:=range 60 {
  c:=&ike.Context{Edit:fmt.Sprint(e),Fact:sent(8)}
  for range 32 { c.Demos=append(c.Demos,"New Fact: "+sent(8)+"\nPrompt: "+sent(6)+" "+sent(1)+"\n\n") }
  p:=&models.Patch{Wraps:[]models.Wrap{c}}
  for range 11 { rows=append(rows,models.Row{Patch:p,Query:ask.Query{Prompt:sent(6),Targets:[]string{sent(1),sent(1)}}}) }
 }
 for range 3 { s:=time.Now(); a,err:=lm.Score(t.Context(),rows); if err!=nil {t.Fatal(err)}; n:=0; for _,x:=range a { n+=x.PromptTokens }; d:=time.Since(s); fmt.Println(len(rows),n/len(rows),d,float64(len(rows))/d.Seconds()) }
}
