// Functions that choose, place and repeat rows of [T, D], differentiable. Row numbers are i32 tensors.
#pragma once

#include "core/graph.hpp"

namespace skymm {

// A parameter as a variable of `shape` (its own, or one of as many elements): its gradient is added to the parameter's.
Variable use(Graph& graph, Parameter& parameter, const Shape& shape);

// Rows of a table [V, D]; zeros where rows[i] < 0.
Variable embedding(Graph& graph, Parameter& table, const Tensor& rows);

// y[i] = x[rows[i]]; rows are distinct.
Variable gather_rows(const Variable& x, const Tensor& rows);

// y [total, D] zeros, then y[rows[i]] = x[i]; rows are distinct.
Variable spread_rows(const Variable& x, const Tensor& rows, std::int64_t total);

// x with x[rows[i]] = patch[i]; rows are distinct. Splices visual tokens into text. `x` is consumed: its tensor becomes
// the result.
Variable splice(const Variable& x, const Variable& patch, const Tensor& rows);

// x one after the other `times` times: [times n, D].
Variable repeat_rows(const Variable& x, std::int64_t times);

// Columns [begin, end).
Variable slice_columns(const Variable& x, std::int64_t begin, std::int64_t end);

// y[i] = x[i] + table[i mod n], table [n, D]: position embeddings of sequences of one length.
Variable add_rows(const Variable& x, Parameter& table);
Variable add_rows(const Variable& x, const Tensor& table);

// y = matrix x with a constant matrix [n, T] in x's dtype: means of rows, for one.
Variable mix_rows(const Tensor& matrix, const Variable& x);

}  // namespace skymm
