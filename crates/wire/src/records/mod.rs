//! Record batches: checked views over the bytes of a fetch response.
