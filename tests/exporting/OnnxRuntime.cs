// What docs/deployment.md's program in C# calls of the package Microsoft.ML.OnnxRuntime, by its
// signatures alone: it "finds" the same in every picture, and says what it was asked.
using System;
using System.Collections.Generic;

namespace Microsoft.ML.OnnxRuntime
{
    public interface IDisposableReadOnlyCollection<T> : IReadOnlyList<T>, IDisposable { }

    public class RunOptions : IDisposable
    {
        public void Dispose() { }
    }

    public class ModelMetadata
    {
        public Dictionary<string, string> CustomMetadataMap =>
            new Dictionary<string, string> { { "fapm.threshold", "1.25" } };
    }

    public class OrtValue : IDisposable
    {
        public Array Data;

        // The package asks for "unmanaged", which this compiler does not know.
        public static OrtValue CreateTensorValueFromMemory<T>(T[] data, long[] shape) where T : struct
        {
            Console.Error.WriteLine($"{data.Length} of {string.Join("x", shape)}");
            return new OrtValue { Data = data };
        }

        public ReadOnlySpan<T> GetTensorDataAsSpan<T>() where T : struct => (T[])Data;

        public void Dispose() { }
    }

    public class InferenceSession : IDisposable
    {
        private class Found : List<OrtValue>, IDisposableReadOnlyCollection<OrtValue>
        {
            public void Dispose() { }
        }

        public InferenceSession(string path) { }

        public ModelMetadata ModelMetadata => new ModelMetadata();

        public IDisposableReadOnlyCollection<OrtValue> Run(
            RunOptions options,
            IReadOnlyCollection<string> inputNames,
            IReadOnlyCollection<OrtValue> inputs,
            IReadOnlyCollection<string> outputNames)
        {
            Console.Error.WriteLine($"{string.Join(",", inputNames)} to {string.Join(",", outputNames)}");
            return new Found
            {
                new OrtValue { Data = new[] { 1.5f } },
                new OrtValue { Data = new[] { 12L, 34L } },
            };
        }

        public void Dispose() { }
    }
}
