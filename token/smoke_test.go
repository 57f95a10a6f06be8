package token
import ("testing";"os";"encoding/json")
func TestSmoke(t *testing.T){
 for _,n:=range []string{"gpt2","t5-small"}{
 tk,err:=Open("/work/shared/data/tokenizers/"+n+"/tokenizer.json"); if err!=nil{t.Fatal(err)}
 e,err:=tk.EncodeWithSpecial("Hello  wörld 日本 ﬁ<|endoftext|>é"); t.Log(tk.Family(),tk.VocabSize(),tk.AddsPrefixSpace(),e,err)
 d,err:=tk.Decode(e.IDs,false); t.Log(d,err)
 }
 tk,err:=Open("/work/shared/fixtures/world/tokenizer.json"); if err!=nil{t.Fatal(err)}
 b,_:=os.ReadFile("/work/shared/fixtures/world/oracle_tokenization.json")
 var o []struct{Text string; IDs []int64; Decoded string}
 json.Unmarshal(b,&o); bad:=0
 for _,x:=range o { e,_:=tk.Encode(x.Text); d,_:=tk.Decode(e.IDs,false); if len(e.IDs)!=len(x.IDs)||d!=x.Decoded {bad++; continue}; for i:=range e.IDs{ if e.IDs[i]!=x.IDs[i]{bad++;break}}}
 t.Log(len(o),bad)
}
